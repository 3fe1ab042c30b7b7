using System.Text.Json;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Several cache exports of one build: each has its own cache, complete and for itself.</summary>
public sealed class SeveralCacheExportsTests(BuildFixture fixture) : IClassFixture<BuildFixture>, IDisposable
{
    private readonly TempDirectory _temp = new();
    private readonly ContextDirectory _context = Context();

    public void Dispose()
    {
        _temp.Dispose();
        _context.Dispose();
    }

    private static ContextDirectory Context() =>
        new ContextDirectory("FROM scratch AS tools\nCOPY a /\nFROM scratch\nCOPY --from=tools /a /b\nCOPY c /\n").Write("a", Guid.NewGuid().ToString("N")).Write("c", "c");

    private async Task<BuildTrace> BuildAsync(params string[] exports) =>
        (await fixture.Client.BuildAsync(_context, [.. exports.SelectMany(export => new[] { "--export-cache", export })])).Succeeded().Trace;

    /// <summary>An empty daemon finds everything there, and every layer is intact.</summary>
    private async Task AssertCompleteAsync(string import)
    {
        (await fixture.Client.RunAsync(["cache", "verify", import])).Succeeded();
        await fixture.Client.PruneAllAsync();
        Assert.Empty((await fixture.Client.BuildAsync(_context, "--import-cache", import, "--output", "type=oci,dest=/dev/null")).Succeeded().Trace.Executed);
    }

    private async Task<ImageIndex> IndexAsync(string directory) => ImageIndex.Parse(await File.ReadAllBytesAsync($"{_temp.Path}/{directory}/index.json"));

    [EndToEndFact]
    public async Task Two_directories_have_a_cache_each()
    {
        await BuildAsync($"type=local,dest={_temp.Path}/one,mode=max", $"type=local,dest={_temp.Path}/two,mode=max,compression=zstd,force-compression=true,image-manifest=true");
        Assert.Equal(MediaTypes.OciIndex, (await IndexAsync("one")).FindTag("latest")!.MediaType);
        Assert.Equal(MediaTypes.OciManifest, (await IndexAsync("two")).FindTag("latest")!.MediaType);
        await AssertCompleteAsync($"type=local,src={_temp.Path}/one");
        Directory.Delete($"{_temp.Path}/one", recursive: true);
        await AssertCompleteAsync($"type=local,src={_temp.Path}/two");
    }

    [EndToEndFact]
    public async Task Two_tags_of_one_directory_have_a_cache_each()
    {
        await BuildAsync(
            $"type=local,dest={_temp.Path}/one,tag=plain,mode=max", $"type=local,dest={_temp.Path}/one,tag=image,mode=max,image-manifest=true", $"type=local,dest={_temp.Path}/one,tag=small,mode=min");
        var index = await IndexAsync("one");
        Assert.Equal(MediaTypes.OciIndex, index.FindTag("plain")!.MediaType);
        Assert.Equal(MediaTypes.OciManifest, index.FindTag("image")!.MediaType);
        Assert.Equal(3, index.Manifests.Count);
        foreach (var tag in new[] { "plain", "image", "small" })
            await AssertCompleteAsync($"type=local,src={_temp.Path}/one,tag={tag}");
    }

    [EndToEndTheory]
    [InlineData(",merge=true")]
    [InlineData("")]
    public async Task Exports_into_one_tag_leave_a_whole_cache(string merge)
    {
        await BuildAsync($"type=local,dest={_temp.Path}/one,mode=min{merge}", $"type=local,dest={_temp.Path}/one,mode=max{merge}");
        Assert.Single((await IndexAsync("one")).Manifests);
        await AssertCompleteAsync($"type=local,src={_temp.Path}/one");
    }

    [EndToEndFact]
    public async Task A_directory_beside_a_registry_has_its_own_manifest()
    {
        var reference = $"{fixture.Registry.Host}/several:{Guid.NewGuid():N}";
        var metadata = $"{_temp.Path}/metadata.json";
        (await fixture.Client.BuildAsync(
            _context, "--export-cache", $"type=local,dest={_temp.Path}/one,mode=max", "--export-cache", $"type=registry,ref={reference},mode=max,image-manifest=true", "--metadata-file", metadata)).Succeeded();
        await AssertCompleteAsync($"type=local,src={_temp.Path}/one");
        await AssertCompleteAsync($"type=registry,ref={reference}");
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(metadata));
        Descriptor Told(string key) => Descriptor.Parse(System.Text.Encoding.UTF8.GetBytes(json.RootElement.GetProperty(key).GetString()!));
        // Clients of the original know the first key only, and what they write is the index of the directory.
        Assert.Equal(MediaTypes.OciIndex, Told("cache.manifest").MediaType);
        Assert.Equal(Told("cache.manifest").Digest, Told("cache.manifest.0").Digest);
        Assert.Equal(MediaTypes.OciManifest, Told("cache.manifest.1").MediaType);
        Assert.Equal((await IndexAsync("one")).FindTag("latest")!.Digest, Told("cache.manifest").Digest);
    }

    [EndToEndFact]
    public async Task An_export_that_failed_and_was_ignored_does_not_change_its_directory()
    {
        await BuildAsync($"type=local,dest={_temp.Path}/one,mode=max");
        var before = await IndexAsync("one");
        // This form does not exist: the export fails.
        await BuildAsync(
            $"type=local,dest={_temp.Path}/one,mode=max,oci-mediatypes=false,image-manifest=true,ignore-error=true", $"type=local,dest={_temp.Path}/two,mode=max,image-manifest=true");
        Assert.Equal(before.Manifests[0].Digest, (await IndexAsync("one")).Manifests[0].Digest);
        await AssertCompleteAsync($"type=local,src={_temp.Path}/one");
        await AssertCompleteAsync($"type=local,src={_temp.Path}/two");
    }

    [EndToEndFact]
    public async Task One_export_alone_is_told_as_the_original_tells_it()
    {
        var metadata = $"{_temp.Path}/metadata.json";
        (await fixture.Client.BuildAsync(_context, "--export-cache", $"type=local,dest={_temp.Path}/one,mode=max", "--metadata-file", metadata)).Succeeded();
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(metadata));
        Assert.Equal(["cache.manifest"], json.RootElement.EnumerateObject().Select(entry => entry.Name).Where(name => name.StartsWith("cache.", StringComparison.Ordinal)));
    }
}
