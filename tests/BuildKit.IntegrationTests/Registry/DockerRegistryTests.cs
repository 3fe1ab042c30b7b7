using System.Diagnostics;
using System.Security.Cryptography;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;

namespace BuildKit.IntegrationTests.Registry;

/// <summary>The registry client against a real registry and a real other client.</summary>
public sealed class DockerRegistryTests
{
    private static readonly StaticRegistryCredentials Known = new(_ => new RegistryCredential(DockerRegistry.User, DockerRegistry.Password), "known");
    private static readonly StaticRegistryCredentials Wrong = new(_ => new RegistryCredential(DockerRegistry.User, "wrong"), "wrong");

    private readonly MemoryBlobSource _source = new();
    private readonly byte[] _layer = RandomNumberGenerator.GetBytes(3_000_000);

    private (Descriptor Index, Descriptor Manifest, Descriptor Layer) MakeImage()
    {
        var layer = _source.Add(MediaTypes.OciLayer, _layer);
        var platform = Platform.Parse("linux/amd64");
        var configJson = (ImageConfig.Empty(platform) with { DiffIds = [layer.Digest] }).ToJson();
        var config = _source.Add(MediaTypes.OciConfig, configJson);
        var manifest = _source.Add(MediaTypes.OciManifest, new Manifest(MediaTypes.OciManifest, config, [layer]).ToJson());
        var index = _source.Add(MediaTypes.OciIndex, new ImageIndex(MediaTypes.OciIndex, [manifest with { Platform = platform }]).ToJson());
        return (index, manifest, layer);
    }

    [RequiresTheory("docker-registry", "htpasswd")]
    [InlineData(DockerRegistryAuth.None)]
    [InlineData(DockerRegistryAuth.Basic)]
    [InlineData(DockerRegistryAuth.Token)]
    public async Task What_is_pushed_can_be_pulled(DockerRegistryAuth auth)
    {
        await using var registry = await DockerRegistry.StartAsync(auth);
        using var client = new RegistryClient(new RegistryConfig());
        var (index, manifest, layer) = MakeImage();
        var reference = ImageReference.Parse($"{registry.Host}/team/app:v1");
        await client.Open(reference, RegistryAccess.Push, Known).Pusher!.PushImageAsync(index, _source);

        var repository = client.Open(reference, RegistryAccess.Pull, Known);
        var image = await ResolvedImage.ResolveAsync(repository, PlatformMatcher.Only(Platform.Parse("linux/amd64/v3")));
        Assert.Equal(index, image.Root);
        Assert.Equal(manifest.Digest, image.ManifestDescriptor.Digest);
        Assert.Equal(layer, Assert.Single(image.Manifest.Layers));
        Assert.Equal(_layer, await repository.ReadVerifiedAsync(layer));
        await using var tail = await repository.OpenAsync(layer, _layer.Length - 10);
        var rest = new byte[11];
        Assert.Equal(10, await tail.ReadAtLeastAsync(rest, 11, throwOnEndOfStream: false));
        Assert.Equal(_layer[^10..], rest[..10]);
        await Assert.ThrowsAsync<RegistryNotFoundException>(
            () => ResolvedImage.ResolveAsync(repository, PlatformMatcher.Only(Platform.Parse("linux/s390x"))));
    }

    [RequiresFact("docker-registry", "skopeo")]
    public async Task Another_client_reads_what_was_pushed()
    {
        await using var registry = await DockerRegistry.StartAsync();
        using var client = new RegistryClient(new RegistryConfig());
        var (_, manifest, layer) = MakeImage();
        await client.Open(ImageReference.Parse($"{registry.Host}/app:v1"), RegistryAccess.Push, Known).Pusher!.PushImageAsync(manifest, _source);
        var directory = Directory.CreateTempSubdirectory("skopeo-").FullName;
        try
        {
            using var skopeo = Process.Start(new ProcessStartInfo("skopeo", ["--insecure-policy", "copy", "-q", "--preserve-digests", "--src-tls-verify=false", $"docker://{registry.Host}/app:v1", $"oci:{directory}/layout:v1"]) { RedirectStandardError = true })!;
            var errors = await skopeo.StandardError.ReadToEndAsync();
            await skopeo.WaitForExitAsync();
            Assert.True(skopeo.ExitCode == 0, errors);
            var layout = new OciLayout(Path.Combine(directory, "layout"));
            Assert.Equal(manifest.Digest, Assert.Single((await layout.ReadIndexAsync()).Manifests).Digest);
            Assert.Equal(_layer, await new OciLayoutBlobSource(layout).ReadVerifiedAsync(layer));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [RequiresFact("docker-registry")]
    public async Task A_layer_of_a_neighbour_is_mounted_and_a_second_push_only_asks()
    {
        await using var registry = await DockerRegistry.StartAsync();
        using var client = new RegistryClient(new RegistryConfig());
        var layer = _source.Add(MediaTypes.OciLayer, _layer);
        await client.Open(ImageReference.Parse($"{registry.Host}/team/one"), RegistryAccess.Push, Known).Pusher!.PushBlobAsync(layer, Open);
        var second = client.Open(ImageReference.Parse($"{registry.Host}/team/two"), RegistryAccess.Push, Known).Pusher!;
        var labelled = layer with { Annotations = new Dictionary<string, string> { [RegistryPusher.SourceAnnotationPrefix + "127.0.0.1"] = "team/one" } };
        Assert.Equal(PushOutcome.Mounted, await second.PushBlobAsync(labelled, _ => throw new InvalidOperationException("nothing is to be sent")));
        Assert.Equal(PushOutcome.Existed, await second.PushBlobAsync(labelled, _ => throw new InvalidOperationException("nothing is to be sent")));

        ValueTask<Stream> Open(CancellationToken cancellationToken) => ValueTask.FromResult<Stream>(new MemoryStream(_layer));
    }

    [RequiresFact("docker-registry")]
    public async Task A_tag_that_names_something_else_is_overwritten()
    {
        await using var registry = await DockerRegistry.StartAsync();
        using var client = new RegistryClient(new RegistryConfig());
        var (index, manifest, _) = MakeImage();
        var repository = client.Open(ImageReference.Parse($"{registry.Host}/app:v1"), RegistryAccess.Push, Known);
        await repository.Pusher!.PushImageAsync(index, _source);
        await repository.Pusher!.PushImageAsync(manifest, _source);
        Assert.Equal(manifest.Digest, (await repository.ResolveAsync()).Digest);
        var byDigest = client.Open(ImageReference.Parse($"{registry.Host}/other"), RegistryAccess.Push, Known);
        await byDigest.Pusher!.PushImageAsync(manifest, _source, new PushOptions { ByDigest = true });
        await Assert.ThrowsAsync<RegistryNotFoundException>(() => byDigest.ResolveAsync());
        Assert.Equal(manifest.Digest, (await client.Open(byDigest.Reference.WithDigest(manifest.Digest), RegistryAccess.Pull, Known).ResolveAsync()).Digest);
    }

    [RequiresFact("docker-registry")]
    public async Task A_blob_corrupted_in_the_registry_is_detected()
    {
        await using var registry = await DockerRegistry.StartAsync();
        using var client = new RegistryClient(new RegistryConfig());
        var (index, _, layer) = MakeImage();
        var repository = client.Open(ImageReference.Parse($"{registry.Host}/app:v1"), RegistryAccess.Push, Known);
        await repository.Pusher!.PushImageAsync(index, _source);
        var stored = await File.ReadAllBytesAsync(registry.BlobPath(layer.Digest.ToString()));
        stored[12345] ^= 1;
        await File.WriteAllBytesAsync(registry.BlobPath(layer.Digest.ToString()), stored);
        var error = await Assert.ThrowsAsync<InvalidDataException>(() => repository.ReadVerifiedAsync(layer));
        Assert.EndsWith($"expected {layer.Digest}: failed precondition", error.Message, StringComparison.Ordinal);
    }

    [RequiresFact("docker-registry", "htpasswd")]
    public async Task Wrong_credentials_are_told_as_the_reference_tells_them()
    {
        await using var registry = await DockerRegistry.StartAsync(DockerRegistryAuth.Basic);
        using var client = new RegistryClient(new RegistryConfig());
        foreach (var credentials in new[] { Wrong, StaticRegistryCredentials.Anonymous })
        {
            var error = await Assert.ThrowsAsync<RegistryStatusException>(
                () => client.Open(ImageReference.Parse($"{registry.Host}/app:v1"), RegistryAccess.Pull, credentials).ResolveAsync());
            Assert.Equal($"unexpected status from HEAD request to http://{registry.Host}/v2/app/manifests/v1: 401 Unauthorized", error.Message);
        }
    }

    [RequiresFact("docker-registry")]
    public async Task A_reader_is_denied_the_push_and_wrong_credentials_the_token()
    {
        await using var registry = await DockerRegistry.StartAsync(DockerRegistryAuth.Token);
        using var client = new RegistryClient(new RegistryConfig());
        var (index, _, _) = MakeImage();
        var reference = ImageReference.Parse($"{registry.Host}/app:v1");
        var denied = await Assert.ThrowsAsync<RegistryAuthorizationException>(
            () => client.Open(reference, RegistryAccess.Push, StaticRegistryCredentials.Anonymous).Pusher!.PushImageAsync(index, _source));
        Assert.Equal("push access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed", denied.Message);
        var wrong = await Assert.ThrowsAsync<RegistryAuthorizationException>(() => client.Open(reference, RegistryAccess.Pull, Wrong).ResolveAsync());
        Assert.StartsWith("failed to authorize: failed to fetch oauth token: unexpected status from POST request to http://127.0.0.1:", wrong.Message, StringComparison.Ordinal);
        Assert.EndsWith("/token: 401 Unauthorized", wrong.Message, StringComparison.Ordinal);
    }

    [RequiresFact("docker-registry")]
    public async Task A_push_and_a_mount_ask_for_one_token_per_set_of_scopes()
    {
        await using var registry = await DockerRegistry.StartAsync(DockerRegistryAuth.Token);
        using var client = new RegistryClient(new RegistryConfig());
        var (index, _, _) = MakeImage();
        await client.Open(ImageReference.Parse($"{registry.Host}/h/tok:v1"), RegistryAccess.Push, Known).Pusher!.PushImageAsync(index, _source);
        Assert.Equal(["repository:h/tok:pull,push"], registry.TokenRequests);
    }
}
