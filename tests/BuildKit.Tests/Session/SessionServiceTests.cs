using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.Auth;
using BuildKit.Session.Content;
using BuildKit.Session.Crypto;
using BuildKit.Session.FileSend;
using BuildKit.Session.Secrets;
using BuildKit.Session.Ssh;
using BuildKit.Session.Upload;

namespace BuildKit.Tests.Session;

public sealed class SessionServiceTests
{
    [Fact]
    public async Task A_secret_arrives_and_a_missing_one_is_null()
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.Path + "/s", "from file");
        var channel = new InMemoryChannel(SecretsProvider.Create(new Dictionary<string, SecretSource>(StringComparer.Ordinal)
        {
            ["file"] = SecretSource.FromFile(directory.Path + "/s"),
            ["bytes"] = SecretSource.FromBytes([1, 2]),
            ["unset"] = SecretSource.FromEnvironment("BUILDKIT_TEST_UNSET_VARIABLE"),
        }));
        Assert.Equal("from file"u8.ToArray(), await SecretsClient.GetAsync(channel, "file", default));
        Assert.Equal([1, 2], await SecretsClient.GetAsync(channel, "bytes", default));
        Assert.Empty((await SecretsClient.GetAsync(channel, "unset", default))!);
        Assert.Null(await SecretsClient.GetAsync(channel, "other", default));
        Assert.Null(await SecretsClient.GetAsync(new InMemoryChannel(), "file", default));
    }

    [Fact]
    public void A_secret_that_cannot_be_offered_is_refused_at_once()
    {
        var missing = Assert.Throws<SecretSourceException>(() => SecretsProvider.Create(new Dictionary<string, SecretSource>(StringComparer.Ordinal) { ["x"] = SecretSource.FromFile("/nonexistent/x") }));
        Assert.Equal("failed to stat /nonexistent/x: stat /nonexistent/x: no such file or directory", missing.Message);
        var large = Assert.Throws<SecretSourceException>(() => SecretsProvider.Create(new Dictionary<string, SecretSource>(StringComparer.Ordinal) { ["x"] = SecretSource.FromBytes(new byte[512001]) }));
        Assert.Equal("secret x too big. max size 500KiB", large.Message);
    }

    [Fact]
    public void The_authority_key_is_the_worked_example_of_the_protocol()
    {
        var salt = Enumerable.Range(0, 32).Select(i => (byte)i).ToArray();
        var hostSeed = Enumerable.Range(0xF0, 16).Select(i => (byte)i).ToArray();
        var seed = AuthProvider.AuthoritySeed(salt, hostSeed);
        Assert.Equal("15277b2758ff673aa92f994bc72b0fe904395f0cb18d40f582c503c89397b637", Convert.ToHexStringLower(seed));
        Assert.Equal("0298eef8e8346d9c83e9f278d717238ce892f5b8af5fb81ece36b9523967c42a", Convert.ToHexStringLower(Ed25519.GetPublicKey(seed)));
        var signature = Ed25519.Sign(seed, "payload"u8);
        Assert.Equal("a09622ebc057284d2371e30b18471123c3f0490853b214bd6ca298bb1d677db0e48a0ee2838c877da4343a513a0353abd0e5d7532ece5e43267054272d010b04", Convert.ToHexStringLower(signature));
        Assert.True(Ed25519.Verify(Ed25519.GetPublicKey(seed), "payload"u8, signature));
        Assert.False(Ed25519.Verify(Ed25519.GetPublicKey(seed), "Payload"u8, signature));
        Assert.Equal("040621616cad1cec87d58de663a3da915dc2bf8afbd0bd361931d2c207644cc4", Convert.ToHexStringLower(Ed25519.GetPublicKey(AuthProvider.AuthoritySeed(salt, []))));
    }

    [Fact]
    public async Task Credentials_come_from_the_docker_configuration()
    {
        using var directory = new TemporaryDirectory();
        var auth = Convert.ToBase64String("bob:s3cret:x"u8);
        const string Config = """
            {"auths":{"https://index.docker.io/v1/":{"auth":"AUTH"},"https://h.example/v2/":{"auth":"AUTH","identitytoken":"idt"},"r.example":{"registrytoken":"ready"}}}
            """;
        File.WriteAllText(directory.Path + "/config.json", Config.Replace("AUTH", auth, StringComparison.Ordinal));
        using var provider = new AuthProvider(new AuthOptions { Config = DockerConfig.Load(directory.Path), NoClientTokens = false });
        var channel = new InMemoryChannel(provider.ToService());
        var client = new AuthClient(channel);
        Assert.Equal(new RegistryCredentials("bob", "s3cret:x"), await client.GetCredentialsAsync("registry-1.docker.io", default));
        Assert.Equal(new RegistryCredentials("", "idt"), await client.GetCredentialsAsync("h.example", default));
        Assert.Equal(RegistryCredentials.None, await client.GetCredentialsAsync("other", default));
        Assert.Equal(new RegistryToken("ready", 60, 0), await client.FetchTokenAsync("r.example", new TokenRequest(AuthClient.ClientId, "https://nowhere.invalid", "s", []), default));

        var salt = RandomNumberGenerator.GetBytes(32);
        var key = (await client.GetTokenAuthorityAsync("h.example", salt, default))!;
        Assert.True(await client.VerifyTokenAuthorityAsync("h.example", key, salt, default));
        Assert.False(await client.VerifyTokenAuthorityAsync("other", key, salt, default));
        Assert.Contains("\n  \"h.example\": {\n    \"Seed\": \"", File.ReadAllText(directory.Path + "/.token_seed"), StringComparison.Ordinal);
        Assert.Equal(0x180u, LinuxFile.Lstat(directory.Path + "/.token_seed").Permissions);
        using var again = new AuthProvider(new AuthOptions { Config = DockerConfig.Load(directory.Path), NoClientTokens = false });
        Assert.Equal(key, await new AuthClient(new InMemoryChannel(again.ToService())).GetTokenAuthorityAsync("h.example", salt, default));
    }

    [Fact]
    public async Task A_client_without_tokens_leaves_them_to_the_daemon()
    {
        using var directory = new TemporaryDirectory();
        using var provider = new AuthProvider(new AuthOptions { Config = DockerConfig.Load(directory.Path), NoClientTokens = true });
        Assert.Null(await new AuthClient(new InMemoryChannel(provider.ToService())).GetTokenAuthorityAsync("h", new byte[32], default));
    }

    [Fact]
    public void A_malformed_docker_configuration_is_reported_and_empty()
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.Path + "/config.json", "{");
        var warnings = new List<string>();
        _ = DockerConfig.Load(directory.Path, warnings.Add);
        Assert.StartsWith("WARNING: Error loading config file: ", Assert.Single(warnings), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_blob_is_written_verified_and_read_back_in_parts()
    {
        using var directory = new TemporaryDirectory();
        var channel = new InMemoryChannel(new ContentStoreProvider(new Dictionary<string, string>(StringComparer.Ordinal) { ["export"] = directory.Path }).ToService());
        var client = new ContentClient(channel, ContentStores.Export);
        var bytes = new byte[5_000_000];
        new Random(1).NextBytes(bytes);
        var descriptor = new Descriptor("application/octet-stream", Digest.Sha256(bytes), bytes.Length);
        Assert.Null(await client.GetSizeAsync(descriptor.Digest, default));
        await client.WriteAsync(descriptor, new MemoryStream(bytes), default);
        await client.WriteAsync(descriptor, new MemoryStream(bytes), default);
        // A file that was damaged is replaced, not believed.
        File.WriteAllBytes($"{directory.Path}/blobs/sha256/{descriptor.Digest.Hex}", new byte[17]);
        await client.WriteAsync(descriptor, new MemoryStream(bytes), default);
        Assert.Equal(bytes.Length, await client.GetSizeAsync(descriptor.Digest, default));
        await using var part = await client.OpenReadAsync(descriptor.Digest, 1000, 100_000, default);
        using var read = new MemoryStream();
        await part.CopyToAsync(read);
        Assert.Equal(bytes.AsSpan(1000, 100_000).ToArray(), read.ToArray());
        Assert.True(channel.LargestMessage < 4 << 20);
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path + "/ingest"));
        Assert.True(File.Exists($"{directory.Path}/blobs/sha256/{descriptor.Digest.Hex}"));
    }

    [Fact]
    public async Task A_blob_that_is_not_what_it_says_leaves_nothing()
    {
        using var directory = new TemporaryDirectory();
        var channel = new InMemoryChannel(new ContentStoreProvider(new Dictionary<string, string>(StringComparer.Ordinal) { ["export"] = directory.Path }).ToService());
        var client = new ContentClient(channel, ContentStores.Export);
        var descriptor = new Descriptor("x", Digest.Sha256("right"), 5);
        await Assert.ThrowsAsync<InvalidDataException>(() => client.WriteAsync(descriptor, new MemoryStream("wrong"u8.ToArray()), default));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path + "/ingest"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory.Path + "/blobs/sha256"));
        var unknown = await Assert.ThrowsAsync<RpcException>(() => new ContentClient(channel, "other").GetSizeAsync(descriptor.Digest, default));
        Assert.Equal("unknown store other", unknown.Message);
    }

    [Fact]
    public async Task Exporter_bytes_arrive_with_their_metadata()
    {
        using var directory = new TemporaryDirectory();
        IReadOnlyDictionary<string, string>? seen = null;
        var channel = new InMemoryChannel(FileSendTarget.Create(new Dictionary<int, SendTarget>
        {
            [1] = SendTarget.ToStream((metadata, _) =>
            {
                seen = metadata;
                return ValueTask.FromResult<Stream?>(AtomicFileStream.Create(directory.Path + "/out.tar"));
            }),
            [2] = SendTarget.ToStream((_, _) => ValueTask.FromResult<Stream?>(null)),
        }));
        var bytes = new byte[7_000_001];
        new Random(2).NextBytes(bytes);
        await using (var output = FileSendClient.OpenStream(channel, 1, new Dictionary<string, string>(StringComparer.Ordinal) { ["image.name"] = "a" }, default))
        {
            await output.WriteAsync(bytes.AsMemory(0, 10));
            await output.WriteAsync(bytes.AsMemory(10));
            await output.CompleteAsync(default);
        }
        Assert.Equal(bytes, File.ReadAllBytes(directory.Path + "/out.tar"));
        Assert.Single(Directory.EnumerateFileSystemEntries(directory.Path));
        Assert.Equal("a", seen!["image.name"]);
        Assert.True(channel.LargestMessage < 4 << 20);
        await using var refused = FileSendClient.OpenStream(channel, 2, null, default);
        var exists = await Assert.ThrowsAsync<RpcException>(() => refused.CompleteAsync(default));
        Assert.Equal((StatusCode.AlreadyExists, "target already exists"), (exists.Code, exists.Message));
        await using var unknown = FileSendClient.OpenStream(channel, 3, null, default);
        Assert.Equal("exporter 3 not found", (await Assert.ThrowsAsync<RpcException>(() => unknown.CompleteAsync(default))).Message);
    }

    [Fact]
    public async Task An_upload_is_served_once()
    {
        var provider = new UploadProvider();
        var url = provider.Add("abc", _ => ValueTask.FromResult<Stream>(new MemoryStream("content"u8.ToArray())));
        var channel = new InMemoryChannel(provider.ToService());
        using var reader = new StreamReader(UploadClient.Open(channel, new Uri(url), default));
        Assert.Equal("content", await reader.ReadToEndAsync());
        using var second = new StreamReader(UploadClient.Open(channel, new Uri(url), default));
        var gone = await Assert.ThrowsAsync<RpcException>(() => second.ReadToEndAsync());
        Assert.Equal("no http response from session for abc", gone.Message);
    }

    [Fact]
    public async Task A_step_signs_with_a_key_file_of_the_client()
    {
        using var directory = new TemporaryDirectory();
        using var rsa = RSA.Create(2048);
        using var ec = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var seed = RandomNumberGenerator.GetBytes(32);
        File.WriteAllText(directory.Path + "/rsa", rsa.ExportRSAPrivateKeyPem());
        File.WriteAllText(directory.Path + "/ec", ec.ExportECPrivateKeyPem());
        byte[] pkcs8 = [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, .. seed];
        File.WriteAllText(directory.Path + "/ed", PemEncoding.WriteString("PRIVATE KEY", pkcs8));
        var service = SshAgentProvider.Create([new SshAgentSource("", [directory.Path + "/rsa", directory.Path + "/ec", directory.Path + "/ed"])]);
        var channel = new InMemoryChannel(service);
        await SshForwarder.CheckAsync(channel, "default", default);
        Assert.Equal("unset ssh forward key other", (await Assert.ThrowsAsync<RpcException>(() => SshForwarder.CheckAsync(channel, "other", default))).Message);

        await using var forwarder = SshForwarder.Start(channel, "default", directory.Path, LinuxProcess.EffectiveUserId, LinuxProcess.EffectiveGroupId, 0x180, default);
        Assert.Equal(0x180u, LinuxFile.Lstat(forwarder.SocketPath).Permissions);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(forwarder.SocketPath));
        await using var stream = new NetworkStream(socket);
        var keys = List(await AskAsync(stream, [11]));
        Assert.Equal(3, keys.Count);
        var data = Encoding.ASCII.GetBytes("to be signed");
        foreach (var key in keys)
        {
            var answer = await AskAsync(stream, new SshWriter().Byte(13).Bytes(key).Bytes(data).Number(4).ToArray());
            Verify(answer, data, rsa, ec, seed);
        }
        Assert.Equal([5], await AskAsync(stream, [19]));
    }

    [Fact]
    public async Task Through_a_real_agent_only_listing_and_signing_pass()
    {
        using var directory = new TemporaryDirectory();
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(directory.Path + "/agent"));
        listener.Listen();
        var agent = Task.Run(async () =>
        {
            using var connection = await listener.AcceptAsync();
            await using var stream = new NetworkStream(connection);
            var request = new byte[5];
            await stream.ReadExactlyAsync(request);
            await stream.WriteAsync(new byte[] { 0, 0, 0, 5, 12, 0, 0, 0, 0 });
            return request;
        });
        var channel = new InMemoryChannel(SshAgentProvider.Create([new SshAgentSource("a", [directory.Path + "/agent"])]));
        await using var forwarder = SshForwarder.Start(channel, "a", directory.Path, LinuxProcess.EffectiveUserId, LinuxProcess.EffectiveGroupId, 0x180, default);
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(forwarder.SocketPath));
        await using var stream = new NetworkStream(socket);
        Assert.Equal([5], await AskAsync(stream, [17, 1]));
        Assert.Equal([12, 0, 0, 0, 0], await AskAsync(stream, [11]));
        Assert.Equal([0, 0, 0, 1, 11], await agent);
    }

    [Fact]
    public void Ssh_sources_that_cannot_be_offered_are_refused()
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.Path + "/k", "no key");
        var path = directory.Path + "/k";
        Assert.Equal($"failed to parse {path}: ssh: no key found", Assert.Throws<SshSourceException>(() => SshAgentProvider.Create([new SshAgentSource("a", [path])])).Message);
        Assert.Equal("stat /nonexistent/k: no such file or directory", Assert.Throws<SshSourceException>(() => SshAgentProvider.Create([new SshAgentSource("a", ["/nonexistent/k"])])).Message);
    }

    private static async Task<byte[]> AskAsync(Stream stream, byte[] request)
    {
        await stream.WriteAsync(new SshWriter().Bytes(request).ToArray());
        var header = new byte[4];
        await stream.ReadExactlyAsync(header);
        var answer = new byte[System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(header)];
        await stream.ReadExactlyAsync(answer);
        return answer;
    }

    private static List<byte[]> List(byte[] answer)
    {
        var reader = new SshReader(answer);
        Assert.Equal(12, reader.Byte());
        var keys = new List<byte[]>();
        for (var left = reader.Number(); left > 0; left--)
        {
            keys.Add(reader.Bytes().ToArray());
            _ = reader.Text();
        }
        return keys;
    }

    private static void Verify(byte[] answer, byte[] data, RSA rsa, ECDsa ec, byte[] seed)
    {
        var reader = new SshReader(answer);
        Assert.Equal(14, reader.Byte());
        var blob = new SshReader(reader.Bytes());
        var name = blob.Text();
        var signature = blob.Bytes().ToArray();
        switch (name)
        {
            case "rsa-sha2-512":
                Assert.True(rsa.VerifyData(data, signature, HashAlgorithmName.SHA512, RSASignaturePadding.Pkcs1));
                break;
            case "ssh-ed25519":
                Assert.True(Ed25519.Verify(Ed25519.GetPublicKey(seed), data, signature));
                break;
            default:
                Assert.Equal("ecdsa-sha2-nistp256", name);
                var numbers = new SshReader(signature);
                var (r, s) = (numbers.Integer(), numbers.Integer());
                byte[] fixedField = [.. new byte[32 - r.Length], .. r, .. new byte[32 - s.Length], .. s];
                Assert.True(ec.VerifyData(data, fixedField, HashAlgorithmName.SHA256));
                break;
        }
    }
}
