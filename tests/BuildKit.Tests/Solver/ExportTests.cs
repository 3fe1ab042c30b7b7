using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

public sealed class ExportTests
{
    private static Vertex Graph(bool? exportTop = null)
    {
        var image = Step("img");
        var context = Step("context", key: "random:" + Hash("c").Hex, value: "tree");
        var copy = Step("copy", [Out(image), Out(context)], content: [1]);
        var run = Step("run", [Out(copy)], selector: _ => "/");
        return Step("top", [Out(run)], exportCache: exportTop);
    }

    private static async Task<(FakeTarget Target, List<string> Made)> ExportAsync(TestBench bench, Vertex vertex, CacheExportMode mode, bool backlinks = false)
    {
        var job = bench.NewJob();
        var target = new FakeTarget();
        List<string> made = [];
        await using (var result = await job.BuildAsync(Out(vertex), default))
            await result.Keys[0].Exporter.ExportToAsync(target, FakeTarget.Options(mode, made, backlinks), default);
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
        return (target, made);
    }

    [Fact]
    public async Task Max_makes_layers_for_every_step_with_inputs()
    {
        await using var bench = new TestBench();
        var (target, made) = await ExportAsync(bench, Graph(), CacheExportMode.Max);
        Assert.Equal(["top(run(copy(img(),tree)))", "run(copy(img(),tree))", "copy(img(),tree)"], made);
        var copy = target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("copy"), 0));
        Assert.Equal([0, 1, 1], copy.Links.Select(l => l.Input).Order());
        Assert.Contains(copy.Links, l => l.Source.Digest.Algorithm == "random");
        Assert.Contains(copy.Links, l => l.Source.Digest == CacheKey.RecordDigest(Hash("content tree"), -1) && l.Selector.IsEmpty);
        var run = target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("run"), 0));
        Assert.Equal(Hash("/"), Assert.Single(run.Links).Selector);
        Assert.Empty(target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("img"), 0)).Results);
    }

    [Fact]
    public async Task Min_makes_layers_for_the_final_result_and_lists_those_that_exist()
    {
        await using var bench = new TestBench();
        bench.Results.WithBlobs.Add("worker::copy(img(),tree)");
        var (target, made) = await ExportAsync(bench, Graph(), CacheExportMode.Min);
        Assert.Equal(["top(run(copy(img(),tree)))"], made);
        Assert.Equal(["blob of worker::copy(img(),tree)"], target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("copy"), 0)).Results);
        Assert.Empty(target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("run"), 0)).Results);
    }

    [Fact]
    public async Task A_step_that_must_not_be_exported_leaves_min_to_the_one_below()
    {
        await using var bench = new TestBench();
        var (_, made) = await ExportAsync(bench, Graph(exportTop: false), CacheExportMode.Min);
        Assert.Equal(["run(copy(img(),tree))"], made);
    }

    [Fact]
    public async Task A_cached_build_exports_the_same_records_as_the_one_that_ran()
    {
        await using var bench = new TestBench();
        var (first, _) = await ExportAsync(bench, Graph(), CacheExportMode.Max, backlinks: true);
        bench.TakeExecuted();
        var (second, made) = await ExportAsync(bench, Graph(), CacheExportMode.Max, backlinks: true);
        Assert.DoesNotContain("run", bench.TakeExecuted());
        string Shape(FakeTarget t) => string.Join(' ', t.Records.Where(r => r.Digest.Algorithm == "sha256").Select(r => r.Digest.Hex[..6]).Distinct().Order());
        Assert.Equal(Shape(first), Shape(second));
        Assert.Contains("top(run(copy(img(),tree)))", made);
    }

    [Fact]
    public async Task Every_key_of_an_image_is_linked_from_the_step_on_top_of_it()
    {
        await using var bench = new TestBench();
        var (target, _) = await ExportAsync(bench, Step("run", [Out(Step("img", moreKeys: ["chain"]))]), CacheExportMode.Max);
        var run = target.Records.Single(r => r.Digest == CacheKey.RecordDigest(Hash("run"), 0));
        Assert.Equal(
            new[] { CacheKey.RecordDigest(Hash("img"), 0), CacheKey.RecordDigest(Hash("chain"), 0) }.Order(),
            run.Links.Select(l => l.Source.Digest).Distinct().Order());
    }
}
