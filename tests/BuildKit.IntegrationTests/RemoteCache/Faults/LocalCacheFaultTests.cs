using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>The faults a directory can have: files that are missing, damaged or cut off, a full or read-only disk, others who
/// write at the same time.</summary>
public sealed class LocalCacheFaultTests(BuildFixture fixture) : IClassFixture<BuildFixture>, IDisposable
{
    private readonly TempDirectory _temp = new();
    private readonly FaultyBuild _build = new();

    public void Dispose()
    {
        _build.Dispose();
        _temp.Dispose();
    }

    private string Directory => $"{_temp.Path}/cache";

    private string Export => $"type=local,dest={Directory},mode=max";

    private string Import => $"type=local,src={Directory}";

    private string LayerFile => $"{Directory}/blobs/sha256/{_build.Layer}";

    [EndToEndTheory]
    [InlineData("missing", "not found")]
    [InlineData("damaged", "unexpected commit digest sha256:")]
    [InlineData("cut off", "unexpected commit size ")]
    [InlineData("empty", "unexpected commit size 0")]
    public async Task A_layer_that_cannot_be_had_is_a_miss_with_one_warning_and_the_next_export_mends_it(string fault, string reason)
    {
        await _build.ExportAsync(fixture.Client, Export);
        var bytes = await File.ReadAllBytesAsync(LayerFile);
        switch (fault)
        {
            case "missing": File.Delete(LayerFile); break;
            case "damaged": await File.WriteAllBytesAsync(LayerFile, [.. bytes[..1000], (byte)(bytes[1000] ^ 1), .. bytes[1001..]]); break;
            case "cut off": await File.WriteAllBytesAsync(LayerFile, bytes[..(bytes.Length / 2)]); break;
            default: await File.WriteAllBytesAsync(LayerFile, []); break;
        }
        await fixture.Client.PruneAllAsync();
        var trace = await _build.ImportAsync(fixture.Client, Import);
        Assert.Equal([FaultyBuild.BrokenStep], trace.Executed);
        var warning = Assert.Single(trace.Warnings);
        Assert.StartsWith($"layer sha256:{_build.Layer} of the cache local:", warning, StringComparison.Ordinal);
        Assert.Contains(reason, warning, StringComparison.Ordinal);
        await _build.AgainAsync(fixture.Client);

        // What has another size than it should is written again. (Bytes of the right size are verified by importers only.)
        if (fault == "damaged")
            File.Delete(LayerFile);
        await _build.ExportAsync(fixture.Client, Export);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(LayerFile));
        await AssertWholeAsync(_build);
    }

    [EndToEndTheory]
    [InlineData("config", true)]
    [InlineData("manifest", true)]
    [InlineData("index", false)]
    [InlineData("garbage", false)]
    public async Task A_directory_without_its_list_is_left_out(string what, bool showsInStep)
    {
        await _build.ExportAsync(fixture.Client, Export);
        var (config, manifest) = (await File.ReadAllTextAsync($"{Directory}/index.json"), "");
        manifest = config.Split("\"digest\":\"sha256:")[1][..64];
        switch (what)
        {
            case "manifest": File.Delete($"{Directory}/blobs/sha256/{manifest}"); break;
            case "config":
                var list = await File.ReadAllTextAsync($"{Directory}/blobs/sha256/{manifest}");
                var entry = list[..list.IndexOf("\"size\"", list.IndexOf("cacheconfig", StringComparison.Ordinal), StringComparison.Ordinal)];
                File.Delete($"{Directory}/blobs/sha256/{entry.Split("sha256:")[^1][..64]}");
                break;
            case "index": File.Delete($"{Directory}/index.json"); break;
            default: await File.WriteAllTextAsync($"{Directory}/index.json", config[..20]); break;
        }
        await fixture.Client.PruneAllAsync();
        var trace = await _build.ImportAsync(fixture.Client, Import);
        Assert.Equal(2, trace.Executed.Count);
        Assert.Equal(showsInStep, trace.Vertices.Any(vertex => vertex.Name.StartsWith("importing cache manifest from local:", StringComparison.Ordinal) && vertex.Error.Length > 0));
        await _build.AgainAsync(fixture.Client);
    }

    [EndToEndTheory]
    [InlineData("full")]
    [InlineData("read-only")]
    public async Task A_disk_that_takes_nothing_fails_the_export_and_leaves_the_cache_that_was_there(string fault)
    {
        System.IO.Directory.CreateDirectory(Directory);
        await RunAsync("mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", Directory);
        await _build.ExportAsync(fixture.Client, Export);
        using var more = new FaultyBuild();
        more.Context.Write("big", System.Security.Cryptography.RandomNumberGenerator.GetBytes(600_000));
        if (fault == "read-only")
            await RunAsync("mount", "-o", "remount,ro", Directory);
        var failed = await fixture.Client.BuildPlainAsync(more.Context, "--export-cache", Export);
        failed.Failed();
        Assert.Contains(fault == "full" ? "space" : "ead-only", failed.Errors, StringComparison.Ordinal);
        var ignored = (await fixture.Client.BuildAsync(more.Context, "--export-cache", Export + ",ignore-error=true")).Succeeded();
        Assert.NotEqual("", ignored.Trace.Step("exporting cache to client directory").Error);
        Assert.Empty(System.IO.Directory.EnumerateFiles($"{Directory}/ingest"));
        await AssertWholeAsync(_build);
        await RunAsync("mount", "-o", "remount,rw,size=10m", Directory);
        await more.ExportAsync(fixture.Client, Export);
        await AssertWholeAsync(more);
    }

    [EndToEndFact]
    public async Task A_directory_that_others_overwrite_all_the_time_is_always_one_whole_cache()
    {
        await _build.ExportAsync(fixture.Client, Export);
        await using var writer = await DaemonProcess.StartAsync();
        var client = new Buildctl(writer.Address);
        using var other = new FaultyBuild();
        var isOver = false;
        var writing = Task.Run(async () =>
        {
            for (var turn = 0; !Volatile.Read(ref isOver); turn++)
                await (turn % 2 == 0 ? other : _build).ExportAsync(client, Export);
        });
        for (var turn = 0; turn < 4; turn++)
        {
            await fixture.Client.PruneAllAsync();
            var trace = await _build.ImportAsync(fixture.Client, Import);
            Assert.Empty(trace.Warnings);
            Assert.True(trace.Executed.Count is 0 or 2, string.Join(", ", trace.Executed));
            Assert.DoesNotContain(trace.Vertices, vertex => vertex.Error.Length > 0);
        }
        Volatile.Write(ref isOver, true);
        await writing;
    }

    private async Task AssertWholeAsync(FaultyBuild build)
    {
        await fixture.Client.PruneAllAsync();
        var trace = await build.ImportAsync(fixture.Client, Import);
        FaultyBuild.AssertHit(trace);
    }

    private static async Task RunAsync(string program, params string[] arguments) => (await Programs.RunAsync(program, arguments)).Succeeded();
}
