using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>A daemon that exports, and a second one that imports.</summary>
public sealed class TwoDaemonsFixture : IAsyncLifetime
{
    private DaemonProcess? _second;

    public BuildFixture Build { get; } = new();

    public Buildctl Second => new(_second!.Address);

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        await Build.InitializeAsync();
        _second = await DaemonProcess.StartAsync();
    }

    public async Task DisposeAsync()
    {
        if (_second is not null)
            await _second.DisposeAsync();
        await Build.DisposeAsync();
    }
}

/// <summary>Attributes of cache exports and imports as users meet them: in the layers that are stored and in the words of
/// <c>buildctl</c>. Each attribute by itself is in the unit tests' <c>AttributeTable</c>.</summary>
public sealed class CacheAttributeTests(TwoDaemonsFixture daemons) : IClassFixture<TwoDaemonsFixture>
{
    private readonly BuildFixture _fixture = daemons.Build;

    private ContextDirectory Context() => new($"""
        FROM {_fixture.Base} AS build
        RUN echo {Guid.NewGuid():N} > /one
        FROM {_fixture.Base}
        RUN echo {Guid.NewGuid():N} > /two
        COPY --from=build /one /one
        """);

    [EndToEndTheory]
    [InlineData("compression=gzip,force-compression=true", "application/vnd.oci.image.layer.v1.tar+gzip", "1F8B08")]
    [InlineData("compression=estargz,compression-level=1,force-compression=true", "application/vnd.oci.image.layer.v1.tar+gzip", "1F8B08")]
    [InlineData("compression=zstd,compression-level=22,force-compression=", "application/vnd.oci.image.layer.v1.tar+zstd", "28B52FFD")]
    [InlineData("compression=uncompressed,force-compression=1", "application/vnd.oci.image.layer.v1.tar", "")]
    [InlineData("compression=zstd,force-compression=T,oci-mediatypes=false", "application/vnd.docker.image.rootfs.diff.tar.zstd", "28B52FFD")]
    public async Task Every_layer_has_the_form_that_was_asked_for(string attributes, string mediaType, string beginning)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await _fixture.Client.BuildAsync(context, "--export-cache", $"type=local,dest={temp.Path}/cache,mode=max,tag=v1,{attributes}")).Succeeded();
        var layout = new OciLayout($"{temp.Path}/cache");
        var index = await layout.ReadIndexAsync();
        var layers = ImageIndex.Parse(await File.ReadAllBytesAsync(layout.BlobPath(index.FindTag("v1")!.Digest))).Manifests.SkipLast(1).ToList();
        Assert.True(layers.Count >= 4);
        foreach (var layer in layers)
        {
            Assert.Equal(mediaType, layer.MediaType);
            Assert.Equal(attributes.Contains("estargz", StringComparison.Ordinal), layer.Annotations.ContainsKey("containerd.io/snapshot/stargz/toc.digest"));
            await using var stream = layout.OpenBlob(layer.Digest);
            var bytes = new byte[16];
            await stream.ReadExactlyAsync(bytes);
            Assert.StartsWith(beginning, Convert.ToHexString(bytes), StringComparison.Ordinal);
        }
        Assert.Empty((await daemons.Second.BuildAsync(context, "--import-cache", $"type=local,src={temp.Path}/cache,tag=v1")).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task Layers_that_exist_keep_their_form_unless_forced()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await _fixture.Client.BuildAsync(context, "--export-cache", $"type=local,dest={temp.Path}/cache,mode=max,compression=zstd")).Succeeded();
        var layout = new OciLayout($"{temp.Path}/cache");
        var root = (await layout.ReadIndexAsync()).Manifests.Single();
        var forms = ImageIndex.Parse(await File.ReadAllBytesAsync(layout.BlobPath(root.Digest))).Manifests.SkipLast(1).Select(layer => layer.MediaType[^4..]).Distinct().Order(StringComparer.Ordinal);
        Assert.Equal(["gzip", "zstd"], forms); // those of the base image, and those of the steps
    }

    [EndToEndTheory]
    [InlineData("9", 2)]
    [InlineData("1", 4)]
    public async Task A_layer_is_compressed_with_the_level_that_was_asked_for(string level, byte mark)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await _fixture.Client.BuildAsync(context, "--export-cache", $"type=local,dest={temp.Path}/cache,mode=max,compression-level={level}")).Succeeded();
        // gzip's header tells the best level from the fastest. The layers of the base image are as they were.
        var own = Directory.GetFiles($"{temp.Path}/cache/blobs/sha256").Select(File.ReadAllBytes).Where(bytes => bytes is [0x1F, 0x8B, ..] && bytes.Length < 1000).Select(bytes => bytes[8]).ToList();
        Assert.Equal(3, own.Count);
        Assert.All(own, seen => Assert.Equal(mark, seen));
    }

    /// <summary>The image's own compression counts, and nothing that the inline cache is told.</summary>
    [EndToEndTheory]
    [InlineData("")]
    [InlineData(",compression=zstd,force-compression=true")]
    [InlineData(",compression=estargz,force-compression=true")]
    public async Task An_inline_cache_goes_with_the_layers_of_its_image(string compression)
    {
        using var context = new ContextDirectory($"""
            FROM {_fixture.Base}
            RUN echo {Guid.NewGuid():N} > /one
            RUN echo two > /two
            """);
        var reference = $"{_fixture.Registry.Host}/inline-{Guid.NewGuid():N}:v1";
        (await _fixture.Client.BuildAsync(
            context, "--output", $"type=image,name={reference},push=true{compression}", "--export-cache", "type=inline,mode=max,compression=lzma,oci-mediatypes=maybe")).Succeeded();
        Assert.Empty((await daemons.Second.BuildAsync(context, "--import-cache", $"type=registry,ref={reference}")).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task A_wrong_export_fails_before_anything_is_built()
    {
        using var context = Context();
        foreach (var (export, error) in new[]
        {
            ("type=other", "failed to solve: unknown cache exporter: \"other\""),
            ("type=registry,ref=a,compression=lzma", "failed to solve: failed to configure registry cache exporter: unsupported compression type lzma"),
            ("type=local,dest=/tmp/unused,oci-mediatypes=yes", "failed to solve: failed to configure local cache exporter: failed to parse oci-mediatypes: strconv.ParseBool: parsing \"yes\": invalid syntax"),
            ("type=s3,bucket=b,region=r,timeout=1q", "failed to solve: failed to configure s3 cache exporter: failed to parse timeout for s3 cache: time: unknown unit \"q\" in duration \"1q\""),
            ("dest=x", "failed to solve: failed to configure registry cache exporter: invalid reference format"),
            ("type=registry", "registry cache exporter requires ref"),
            ("type=local", "local cache exporter requires dest"),
            ("type=,ref=a", "--export-cache requires type=<type>"),
        })
        {
            var build = (await _fixture.Client.BuildPlainAsync(context, "--export-cache", export)).Failed();
            Assert.Contains($"error: {error}\n", build.Errors, StringComparison.Ordinal);
            Assert.DoesNotContain("RUN", build.Errors, StringComparison.Ordinal);
        }
        var twice = (await _fixture.Client.BuildPlainAsync(context, "--export-cache", "type=registry,ref=a", "--export-cache", "type=registry,ref=a,mode=max")).Failed();
        Assert.Contains("error: failed to solve: duplicate cache exports [registry]\n", twice.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_wrong_import_is_a_failed_step_and_the_build_goes_on()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var build = (await _fixture.Client.BuildPlainAsync(
            context, "--import-cache", "type=inline", "--import-cache", "type=registry,ref=a,registry.insecure=yes", "--import-cache", $"type=local,src={temp.Path},digest={Digest.Sha256("gone")}",
            "--import-cache", $"type=local,src={temp.Path}")).Succeeded();
        Assert.Contains("ERROR: unknown cache importer: inline\n", build.Errors, StringComparison.Ordinal);
        Assert.Contains("ERROR: failed to configure registry cache importer: failed to parse registry.insecure: strconv.ParseBool: parsing \"yes\": invalid syntax\n", build.Errors, StringComparison.Ordinal);
        Assert.Contains($"ERROR: failed to configure local cache importer: NotFound: rpc error: code = NotFound desc = content {Digest.Sha256("gone")}: not found\n", build.Errors, StringComparison.Ordinal);
        Assert.Contains($"level=warning msg=\"local cache import at {temp.Path} not found due to err: could not read {temp.Path}/index.json: open {temp.Path}/index.json: no such file or directory\"", build.Errors, StringComparison.Ordinal);
        var untagged = new OciLayout($"{temp.Path}/cache");
        await untagged.InitializeAsync();
        await File.WriteAllTextAsync($"{temp.Path}/cache/index.json", """{"schemaVersion":2,"manifests":[]}""");
        var refused = (await _fixture.Client.BuildPlainAsync(context, "--import-cache", $"type=local,src={temp.Path}/cache,tag=v1")).Failed();
        Assert.Contains("error: local cache importer requires either explicit digest, \"latest\" tag or custom tag on index.json\n", refused.Errors, StringComparison.Ordinal);
    }
}
