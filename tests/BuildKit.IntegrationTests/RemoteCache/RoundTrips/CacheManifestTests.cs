using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>The documents that name a cache's layers, in each layout (spec 04 §6), and other tools that read them.</summary>
[Collection(RoundTripCollection.Name)]
public sealed class CacheManifestTests(RoundTripFixture fixture)
{
    public static TheoryData<string, bool, bool, string> Layouts()
    {
        var cases = new TheoryData<string, bool, bool, string>();
        foreach (var backend in new[] { "registry", "local" })
        {
            foreach (var (oci, image) in new[] { (true, false), (false, false), (true, true) })
            {
                foreach (var compression in RoundTripFixture.Compressions)
                    cases.Add(backend, oci, image, compression);
            }
        }
        return cases;
    }

    public static TheoryData<string> Compressions() => [.. RoundTripFixture.Compressions];

    [RoundTripTheory]
    [MemberData(nameof(Layouts))]
    public async Task Each_layout_has_its_media_types_and_is_imported(string backend, bool oci, bool image, string compression)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var store = fixture.NewStore(backend, temp);
        (await fixture.First.BuildAsync(context, [.. store.Exporting("max", $",compression={compression},oci-mediatypes={oci},image-manifest={image}"), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();

        var root = (oci, image) switch
        {
            (true, true) => "application/vnd.oci.image.manifest.v1+json",
            (true, false) => "application/vnd.oci.image.index.v1+json",
            _ => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        Assert.Equal(root, (await store.ReadAsync()).MediaType);
        using var json = JsonDocument.Parse(store is LocalStore local ? await local.ReadRootAsync() : await ((RegistryStore)store).ReadRootAsync());
        var config = image ? json.RootElement.GetProperty("config") : json.RootElement.GetProperty("manifests").EnumerateArray().Last();
        Assert.Equal("application/vnd.buildkit.cacheconfig.v0", config.GetProperty("mediaType").GetString());
        Assert.Equal(["mediaType", "digest", "size"], config.EnumerateObject().Select(p => p.Name));

        var layers = await store.VerifyAsync();
        Assert.Equal(6, layers.Count);
        var prefix = oci ? "application/vnd.oci.image.layer.v1.tar" : "application/vnd.docker.image.rootfs.diff.tar";
        Assert.All(layers, l => Assert.Equal(
            prefix + (l.Form switch { "uncompressed" => "", "zstd" => oci ? "+zstd" : ".zstd", _ => oci ? "+gzip" : ".gzip" }), l.Descriptor.MediaType));
        Assert.All(layers, l => Assert.Equal(l.Descriptor.Digest == fixture.BaseLayer ? "gzip" : compression, l.Form));

        var second = await fixture.EmptySecondAsync();
        var import = (await second.BuildAsync(context, ["--import-cache", store.Import, .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded();
        Assert.Contains($"inferred cache manifest type: {root}", import.Trace.Statuses);
        Assert.Empty(import.Trace.Executed);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
    }

    [RoundTripTheory]
    [InlineData("registry")]
    [InlineData("local")]
    public async Task An_image_manifest_without_OCI_media_types_is_refused(string backend)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var build = await fixture.First.BuildPlainAsync(context, fixture.NewStore(backend, temp).Exporting("max", ",oci-mediatypes=false,image-manifest=true"));
        Assert.Contains("invalid configuration for remote cache", build.Failed().Errors, StringComparison.Ordinal);
    }

    /// <summary>Copying verifies every digest on the way.</summary>
    [RoundTripTheory("skopeo", "umoci")]
    [MemberData(nameof(Compressions))]
    public async Task A_directory_with_an_image_manifest_is_copied_by_skopeo_and_still_hits(string compression)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var store = (LocalStore)fixture.NewStore("local", temp);
        (await fixture.First.BuildAsync(context, [.. store.Exporting("max", $",compression={compression},image-manifest=true,tag=mine"), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        var root = await store.ReadRootAsync();
        Assert.Equal(root, (await SkopeoAsync("inspect", "--raw", $"oci:{store.Directory}:mine")).Output);

        await SkopeoAsync("copy", "--preserve-digests", $"oci:{store.Directory}:mine", $"dir:{temp.Path}/plain");
        Assert.Equal(root, await File.ReadAllBytesAsync($"{temp.Path}/plain/manifest.json"));
        var manifest = Manifest.Parse(root);
        Assert.Equal(6, manifest.Layers.DistinctBy(l => l.Digest).Count());
        foreach (var blob in manifest.Layers.Append(manifest.Config))
            Assert.Equal(blob.Digest, Digest.Sha256(await File.ReadAllBytesAsync($"{temp.Path}/plain/{blob.Digest.Hex}")));

        var moved = $"{fixture.Registry.Host}/moved-{compression}:v1";
        await SkopeoAsync("copy", "--dest-tls-verify=false", $"oci:{store.Directory}:mine", $"docker://{moved}");
        await SkopeoAsync("copy", "--src-tls-verify=false", $"docker://{moved}", $"oci:{temp.Path}/back:latest");
        foreach (var import in new[] { $"type=registry,ref={moved}", $"type=local,src={temp.Path}/back" })
        {
            var second = await fixture.EmptySecondAsync();
            Assert.Empty((await second.BuildAsync(context, ["--import-cache", import, .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded().Trace.Executed);
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
        }
    }

    /// <summary>A list of layers is no image: tools show it, keep what it names, and do not copy it.</summary>
    [RoundTripTheory("skopeo", "umoci")]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_directory_is_an_OCI_layout_in_which_other_tools_find_the_cache(bool image)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var store = (LocalStore)fixture.NewStore("local", temp);
        (await fixture.First.BuildAsync(context, store.Exporting("max", $",image-manifest={image},tag=one"))).Succeeded();
        (await fixture.First.BuildAsync(context, store.Exporting("max", $",image-manifest={image},oci-mediatypes=true,compression=zstd,force-compression=true,tag=two"))).Succeeded();
        var roots = ImageIndex.Parse(await File.ReadAllBytesAsync($"{store.Directory}/index.json")).Manifests;
        Assert.Equal(2, roots.Count);
        foreach (var (root, tag) in roots.Zip(["one", "two"]))
            Assert.Equal(root.Digest, Digest.Sha256((await SkopeoAsync("inspect", "--raw", $"oci:{store.Directory}:{tag}")).Output));
        Assert.Equal(["one", "two"], (await Programs.RunAsync("umoci", ["list", "--layout", store.Directory])).Succeeded().Text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal));

        // Nothing but what no tag leads to is collected.
        var blobs = $"{store.Directory}/blobs/sha256";
        var before = Directory.GetFiles(blobs).Order(StringComparer.Ordinal).ToList();
        var stray = Digest.Sha256("stray");
        await File.WriteAllTextAsync($"{blobs}/{stray.Hex}", "stray");
        (await Programs.RunAsync("umoci", ["gc", "--layout", store.Directory])).Succeeded();
        Assert.Equal(before, Directory.GetFiles(blobs).Order(StringComparer.Ordinal));
        foreach (var tag in new[] { "one", "two" })
        {
            var second = await fixture.EmptySecondAsync();
            Assert.Empty((await second.BuildAsync(context, "--import-cache", $"{store.Import},tag={tag}")).Succeeded().Trace.Executed);
        }
    }

    /// <summary>The cache inside an image is wherever the image is.</summary>
    [RoundTripTheory("skopeo", "umoci")]
    [MemberData(nameof(Compressions))]
    public async Task An_image_with_its_cache_inside_hits_from_a_directory_and_after_it_was_copied(string compression)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var directory = $"{temp.Path}/image";
        (await fixture.First.BuildAsync(
            context, ["--export-cache", "type=inline", "--output", $"type=oci,tar=false,dest={directory},compression={compression},force-compression=true", .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        if (compression != "zstd") // which umoci does not know
        {
            (await Programs.RunAsync("umoci", ["unpack", "--image", directory + ":latest", $"{temp.Path}/bundle"])).Succeeded();
            Assert.Equal(["random", "result.txt"], Directory.GetFiles($"{temp.Path}/bundle/rootfs/app").Select(Path.GetFileName).Order(StringComparer.Ordinal));
        }
        var moved = $"{fixture.Registry.Host}/image-{compression}:v1";
        await SkopeoAsync("copy", "--dest-tls-verify=false", $"oci:{directory}:latest", $"docker://{moved}");
        foreach (var import in new[] { $"type=local,src={directory}", $"type=registry,ref={moved}" })
        {
            var second = await fixture.EmptySecondAsync();
            Assert.Empty((await second.BuildAsync(context, ["--import-cache", import, .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded().Trace.Executed);
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
        }
    }

    private static async Task<ProgramResult> SkopeoAsync(params string[] arguments) => (await Programs.RunAsync("skopeo", ["--insecure-policy", .. arguments])).Succeeded();
}
