using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Http2;
using BuildKit.Protocol.Services;

namespace BuildKit.IntegrationTests.Transport;

/// <summary>The daemon on TCP, plain and with mutual TLS.</summary>
public sealed class TcpTests
{
    [EndToEndFact]
    public async Task A_build_runs_over_plain_tcp()
    {
        var address = $"tcp://127.0.0.1:{DockerRegistry.FreePort()}";
        await using var daemon = await DaemonProcess.StartAsync(arguments: ["--addr", address]);
        Assert.Contains("TLS is not enabled for " + address, daemon.Log, StringComparison.Ordinal);
        await AssertBuildsAsync(new Buildctl(address));
    }

    [EndToEndFact]
    public async Task A_build_runs_over_tls_with_certificates_of_both_ends()
    {
        await using var served = await TlsDaemon.StartAsync();
        await AssertBuildsAsync(served.Client("--tlsdir", served.Certificates));
        await AssertBuildsAsync(served.Client("--tlscacert", served.Certificates + "/ca.pem", "--tlscert", served.Certificates + "/cert.pem", "--tlskey", served.Certificates + "/key.pem", "--tlsservername", "buildkitd.test"));
    }

    [EndToEndFact]
    public async Task A_client_without_a_certificate_is_refused()
    {
        await using var served = await TlsDaemon.StartAsync();
        (await served.Client("--tlscacert", served.Certificates + "/ca.pem").RunAsync(["debug", "workers"])).Failed();
        // One of another authority is no better.
        var others = Directory.CreateDirectory(served.Certificates + "/others").FullName;
        TestCertificates.Write(others);
        (await served.Client("--tlscacert", served.Certificates + "/ca.pem", "--tlscert", others + "/cert.pem", "--tlskey", others + "/key.pem").RunAsync(["debug", "workers"])).Failed();
        (await new Buildctl(served.Address).RunAsync(["debug", "workers"])).Failed();
        (await served.Client("--tlsdir", served.Certificates).RunAsync(["debug", "workers"])).Succeeded();
    }

    [EndToEndFact]
    public async Task A_server_of_another_authority_or_name_is_refused()
    {
        await using var served = await TlsDaemon.StartAsync();
        var others = Directory.CreateDirectory(served.Certificates + "/others").FullName;
        TestCertificates.Write(others);
        var stranger = (await served.Client("--tlsdir", others).RunAsync(["debug", "workers"])).Failed();
        Assert.Contains("authentication handshake failed", stranger.Errors, StringComparison.Ordinal);
        var misnamed = (await served.Client("--tlsdir", served.Certificates, "--tlsservername", "elsewhere.test").RunAsync(["debug", "workers"])).Failed();
        Assert.Contains("authentication handshake failed", misnamed.Errors, StringComparison.Ordinal);
    }

    /// <summary>Some clients speak HTTP/2 over TLS without having agreed on it.</summary>
    [EndToEndFact]
    public async Task A_tls_client_that_offers_no_protocol_is_served()
    {
        await using var served = await TlsDaemon.StartAsync();
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        var parts = served.Address["tcp://".Length..].Split(':');
        await socket.ConnectAsync(parts[0], int.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture));
        using var pem = X509Certificate2.CreateFromPemFile(served.Certificates + "/cert.pem", served.Certificates + "/key.pem");
        using var certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.ImportFromPemFile(served.Certificates + "/ca.pem");
        var encrypted = new SslStream(new NetworkStream(socket, ownsSocket: true));
        await encrypted.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "buildkitd.test", ClientCertificates = [certificate], CertificateChainPolicy = policy });
        Assert.Equal(default, encrypted.NegotiatedApplicationProtocol);
        await using var channel = Http2Connection.Start(encrypted, new Http2ConnectionOptions { Authority = "buildkitd.test", Scheme = "https" });
        Assert.NotEmpty((await channel.UnaryAsync(ControlMethods.ListWorkers, new ListWorkersRequest(), default, CancellationToken.None)).Record);
    }

    private static async Task AssertBuildsAsync(Buildctl client)
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY a /b\n").Write("a", Guid.NewGuid().ToString());
        using var output = new TempDirectory();
        (await client.BuildAsync(context, "--output", "type=local,dest=" + output.Path)).Succeeded();
        Assert.Equal(await File.ReadAllTextAsync(context["a"]), await File.ReadAllTextAsync(output.Path + "/b"));
    }

    private sealed class TlsDaemon : IAsyncDisposable
    {
        private readonly TempDirectory _directory = new();
        private DaemonProcess? _daemon;

        public string Certificates => _directory.Path;

        public string Address { get; } = $"tcp://127.0.0.1:{DockerRegistry.FreePort()}";

        public static async Task<TlsDaemon> StartAsync()
        {
            var served = new TlsDaemon();
            var directory = served.Certificates;
            TestCertificates.Write(directory);
            served._daemon = await DaemonProcess.StartAsync(
                arguments: ["--addr", served.Address, "--tlscert", directory + "/cert.pem", "--tlskey", directory + "/key.pem", "--tlscacert", directory + "/ca.pem"]);
            return served;
        }

        public Buildctl Client(params string[] flags) => new(Address, flags: flags);

        public async ValueTask DisposeAsync()
        {
            if (_daemon is not null)
                await _daemon.DisposeAsync();
            _directory.Dispose();
        }
    }
}
