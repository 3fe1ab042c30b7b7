using System.Text.Json;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary><c>buildctl cache …</c> against real stores: what daemons wrote is shown, verified, copied, pruned and compared.</summary>
public sealed class CacheToolTests(ObjectStoreFixture fixture) : IClassFixture<ObjectStoreFixture>, IDisposable
{
    private readonly string _id = Guid.NewGuid().ToString("N");
    private readonly TempDirectory _temp = new();

    private Buildctl First => fixture.Build.Client;

    private Buildctl Second => new(fixture.Second.Address);

    public void Dispose() => _temp.Dispose();

    private ContextDirectory Context(string name = "a") => new($"""
        FROM {fixture.Build.Base}
        RUN echo {_id} > /common
        RUN echo {_id}-{name} && head -c 50000 /dev/urandom > /{name}
        """);

    /// <summary>The cache of a name in a kind of store, as exports and imports write it.</summary>
    private (string Export, string Import) Cache(string type, string name = "one") => type switch
    {
        "registry" => ($"type=registry,ref={fixture.Build.Registry.Host}/tools-{_id}:{name}", $"type=registry,ref={fixture.Build.Registry.Host}/tools-{_id}:{name}"),
        "local" => ($"type=local,dest={_temp.Path}/cache,tag={name}", $"type=local,src={_temp.Path}/cache,tag={name}"),
        _ => (fixture.Cache(type, _id, "name=" + name), fixture.Cache(type, _id, "name=" + name)),
    };

    private async Task ExportAsync(ContextDirectory context, string cache) => (await First.BuildAsync(context, "--export-cache", cache + ",mode=max")).Succeeded();

    private static Task<ProgramResult> ToolAsync(params string[] arguments) => new Buildctl("unix:///nonexistent").RunAsync(["cache", .. arguments]);

    [ObjectStoreTheory]
    [InlineData("registry")]
    [InlineData("local")]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task Inspect_shows_records_layers_and_who_uses_them(string type)
    {
        using var context = Context();
        var (export, import) = Cache(type);
        await ExportAsync(context, export);
        var text = (await ToolAsync("inspect", import)).Succeeded().Text;
        Assert.Contains("3 layers, ", text, StringComparison.Ordinal);
        Assert.Contains("RECORD", text, StringComparison.Ordinal);
        Assert.Contains("USED BY", text, StringComparison.Ordinal);
        Assert.DoesNotContain(ObjectStore.AzureKey, text, StringComparison.Ordinal);
        Assert.DoesNotContain("S3RVER", text, StringComparison.Ordinal);

        using var json = JsonDocument.Parse((await ToolAsync("inspect", "--format", "json", import)).Succeeded().Text);
        var layers = json.RootElement.GetProperty("layers").EnumerateArray().ToList();
        Assert.Equal(3, layers.Count);
        Assert.Equal(json.RootElement.GetProperty("size").GetInt64(), layers.Sum(layer => layer.GetProperty("size").GetInt64()));
        var top = Assert.Single(json.RootElement.GetProperty("records").EnumerateArray(), record => record.TryGetProperty("layers", out var chain) && chain.GetArrayLength() == 3);
        // The base is in the results of both steps, the last layer in one.
        var users = layers.ToDictionary(layer => layer.GetProperty("digest").GetString()!, layer => layer.GetProperty("usedBy").GetArrayLength());
        Assert.Equal([2, 2, 1], top.GetProperty("layers").EnumerateArray().Select(layer => users[layer.GetString()!]));
        var tree = (await ToolAsync("inspect", "--tree", import)).Succeeded().Text;
        Assert.Contains("    " + top.GetProperty("digest").GetString()!["sha256:".Length..][..12] + "  3 layers", tree, StringComparison.Ordinal);
    }

    [ObjectStoreTheory]
    [InlineData("registry")]
    [InlineData("local")]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task Verify_finds_what_is_intact(string type)
    {
        using var context = Context();
        var (export, import) = Cache(type);
        await ExportAsync(context, export);
        Assert.Contains(": all present and intact\n", (await ToolAsync("verify", import)).Succeeded().Text, StringComparison.Ordinal);
    }

    [ObjectStoreFact]
    public async Task Verify_finds_missing_and_damaged_layers()
    {
        using var context = Context();
        var (export, import) = Cache("local");
        await ExportAsync(context, export);
        using var json = JsonDocument.Parse((await ToolAsync("inspect", "--format=json", import)).Succeeded().Text);
        var layers = json.RootElement.GetProperty("layers").EnumerateArray().Select(layer => layer.GetProperty("digest").GetString()!["sha256:".Length..]).ToList();
        File.Delete($"{_temp.Path}/cache/blobs/sha256/{layers[0]}");
        var damaged = $"{_temp.Path}/cache/blobs/sha256/{layers[1]}";
        var bytes = await File.ReadAllBytesAsync(damaged);
        bytes[^1] ^= 1;
        File.Delete(damaged);
        await File.WriteAllBytesAsync(damaged, bytes);
        var verify = (await ToolAsync("verify", import)).Failed();
        Assert.Matches($@"sha256:{layers[0]}  \S+  missing\n", verify.Text);
        Assert.Matches($@"sha256:{layers[1]}  \S+  damaged: ", verify.Text);
        Assert.Contains("error: 2 of 3 layers of type=local", verify.Errors, StringComparison.Ordinal);
    }

    [ObjectStoreTheory]
    [InlineData("registry", "s3")]
    [InlineData("s3", "azblob")]
    [InlineData("azblob", "local")]
    [InlineData("local", "registry")]
    public async Task A_copy_serves_builds_as_the_cache_does(string from, string to)
    {
        using var context = Context();
        var (export, source) = Cache(from);
        await ExportAsync(context, export);
        var target = Cache(to, "copy").Import;
        (await ToolAsync("copy", source, target)).Succeeded();
        Assert.Equal("no difference\n", (await ToolAsync("diff", source, target)).Succeeded().Text);
        await Second.PruneAllAsync();
        Assert.Empty((await Second.BuildAsync(context, "--import-cache", target, "--output", "type=oci,dest=/dev/null")).Succeeded().Trace.Executed);
        // Joined into what is there, both remain.
        using var other = Context("b");
        var (otherExport, otherSource) = Cache(from, "other");
        await ExportAsync(other, otherExport);
        (await ToolAsync("copy", otherSource, target + ",merge=true")).Succeeded();
        foreach (var either in new[] { context, other })
        {
            await Second.PruneAllAsync();
            Assert.Empty((await Second.BuildAsync(either, "--import-cache", target)).Succeeded().Trace.Executed);
        }
    }

    [ObjectStoreTheory]
    [InlineData("registry")]
    [InlineData("local")]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task Prune_drops_old_results_and_the_layers_nothing_needs(string type)
    {
        using var old = Context("old");
        using var young = Context("young");
        var (export, import) = Cache(type);
        await ExportAsync(old, export + ",merge=true");
        await Task.Delay(6000); // times of use are whole seconds, and a program takes its time to start
        await ExportAsync(young, export + ",merge=true");
        Assert.Contains("results: 3 of 3 kept\n", (await ToolAsync("prune", import)).Succeeded().Text, StringComparison.Ordinal);

        // Between the two exports. The step both have was noted as used by the first: times within an hour are not noted again.
        using var json = JsonDocument.Parse((await ToolAsync("inspect", "--format=json", import)).Succeeded().Text);
        var used = json.RootElement.GetProperty("records").EnumerateArray().Select(record => record.GetProperty("usedAt").GetDateTimeOffset()).Max();
        var keep = (int)(DateTimeOffset.UtcNow - used).TotalMilliseconds + 5000;
        var prune = (await ToolAsync("prune", $"--keep-duration={keep}ms", "--min-age=0s", import)).Succeeded();
        if (type == "s3")
        {
            // What lies in parts keeps its layers until the parts are removed.
            Assert.Contains("results: 1 of 3 kept\n", prune.Text, StringComparison.Ordinal);
            return;
        }
        Assert.Contains("results: 1 of 3 kept\n", prune.Text, StringComparison.Ordinal);
        Assert.Contains("layers: " + (type == "local" ? "" : "1 no longer needed"), prune.Text, StringComparison.Ordinal);
        (await ToolAsync("verify", import)).Succeeded();
        await Second.PruneAllAsync();
        Assert.Empty((await Second.BuildAsync(young, "--import-cache", import)).Succeeded().Trace.Executed);
        await Second.PruneAllAsync();
        Assert.Equal(2, (await Second.BuildAsync(old, "--import-cache", import)).Succeeded().Trace.Executed.Count);
        if (type == "local")
            Assert.Equal(5, Directory.GetFiles($"{_temp.Path}/cache/blobs/sha256").Length); // three layers, config, manifest
    }

    [ObjectStoreFact]
    public async Task Layers_another_name_needs_and_young_ones_stay()
    {
        using var one = Context("one");
        using var two = Context("two");
        var (export, import) = Cache("azblob", "one");
        await ExportAsync(one, export);
        await ExportAsync(two, Cache("azblob", "two").Export);
        var prune = (await ToolAsync("prune", "--min-age=0s", import)).Succeeded();
        Assert.Contains("layers: 0 no longer needed", prune.Text, StringComparison.Ordinal);
        // Replaced: the layer of the first build is needed by nobody, but young.
        await ExportAsync(two, export);
        Assert.Contains("are younger than 1h, or were named until now, and stay\n", (await ToolAsync("prune", import)).Succeeded().Text, StringComparison.Ordinal);
        Assert.Contains("layers: 1 no longer needed", (await ToolAsync("prune", "--min-age=0s", import)).Succeeded().Text, StringComparison.Ordinal);
        (await ToolAsync("verify", Cache("azblob", "two").Import)).Succeeded();
    }

    [ObjectStoreFact]
    public async Task Diff_shows_both_sides()
    {
        using var a = Context("a");
        using var b = Context("b");
        await ExportAsync(a, Cache("local", "one").Export);
        await ExportAsync(b, Cache("local", "two").Export);
        var diff = (await ToolAsync("diff", Cache("local", "one").Import, Cache("local", "two").Import)).Succeeded().Text;
        Assert.Matches(@"^- record sha256:[0-9a-f]{64}\n\+ record sha256:[0-9a-f]{64}\n- layer  sha256:[0-9a-f]{64}  \S+\n\+ layer  sha256:[0-9a-f]{64}  \S+\n$", diff);
    }

    [ObjectStoreFact]
    public async Task What_cannot_be_done_is_told()
    {
        Assert.Contains("error: CACHE must be given, as after --import-cache: type=registry,ref=…", (await ToolAsync("inspect")).Failed().Errors, StringComparison.Ordinal);
        Assert.Contains(":v1: not found", (await ToolAsync("inspect", $"{fixture.Build.Registry.Host}/none-{_id}:v1")).Failed().Errors, StringComparison.Ordinal);
        Assert.Contains("no cache at type=s3", (await ToolAsync("inspect", Cache("s3").Import)).Failed().Errors, StringComparison.Ordinal);
        Assert.Contains("index.json has no tag one", (await ToolAsync("verify", Cache("local").Import)).Failed().Errors, StringComparison.Ordinal);
        Assert.Contains("unknown cache importer: none", (await ToolAsync("inspect", "type=none")).Failed().Errors, StringComparison.Ordinal);
        Assert.Contains("failed to parse keep-bytes", (await ToolAsync("prune", "--keep-bytes=x", Cache("local").Import)).Failed().Errors, StringComparison.Ordinal);
        var help = (await ToolAsync("--help")).Succeeded().Text;
        foreach (var command in new[] { "inspect", "verify", "copy", "prune", "diff" })
            Assert.Contains($"   {command}", help, StringComparison.Ordinal);
        Assert.Contains("buildctl cache prune [command options] CACHE", (await ToolAsync("prune", "--help")).Succeeded().Text, StringComparison.Ordinal);
    }
}
