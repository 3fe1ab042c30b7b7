using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

public sealed class ScenarioTests
{
    private static Vertex CopyAndMake(string content, int generation, string image = "img", string imageKey = "img")
    {
        var img = Step(image, key: imageKey, value: image);
        var context = Step("context", key: $"random:{generation:x64}", value: content, id: "context" + generation);
        var copy = Step("copy", [Out(img), Out(context)], content: [1], selector: i => i == 1 ? "/a.txt" : "");
        return Step("make", [Out(copy)], selector: _ => "/");
    }

    [Fact]
    public async Task An_unchanged_file_is_found_by_content_and_nothing_above_it_is_evaluated()
    {
        await using var bench = new TestBench();
        Assert.Equal("make(copy(img,hello))", await bench.BuildOnceAsync(CopyAndMake("hello", 1)));
        Assert.Equal("img context copy make", string.Join(' ', bench.TakeExecuted().Split(' ').OrderBy(n => "img context copy make".IndexOf(n, StringComparison.Ordinal))));

        Assert.Equal("make(copy(img,hello))", await bench.BuildOnceAsync(CopyAndMake("hello", 2)));
        Assert.Equal("context", bench.TakeExecuted());
        Assert.Equal(["worker::make(copy(img,hello))"], bench.Results.Loads);
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_graph_as_deep_as_a_client_likes_is_built()
    {
        await using var bench = new TestBench();
        var top = Step("bottom", key: "bottom", value: "bottom", id: "bottom");
        for (var i = 0; i < 20_000; i++)
            top = Step("step" + i, [Out(top)], key: "step" + i, value: "v" + i, id: "step" + i);
        Assert.Equal("v19999", await bench.BuildOnceAsync(top));
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_changed_file_runs_its_copy_and_what_follows()
    {
        await using var bench = new TestBench();
        await bench.BuildOnceAsync(CopyAndMake("hello", 1));
        bench.TakeExecuted();
        Assert.Equal("make(copy(img,changed))", await bench.BuildOnceAsync(CopyAndMake("changed", 2)));
        Assert.Equal("context copy make", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_content_hit_links_the_new_definition_so_that_the_next_build_evaluates_nothing()
    {
        await using var bench = new TestBench();

        Vertex Graph(string definition)
        {
            var producer = Step("producer", key: definition, value: "same", id: definition);
            return Step("copy", [Out(producer)], content: [0]);
        }

        await bench.BuildOnceAsync(Graph("first"));
        Assert.Equal("producer copy", bench.TakeExecuted());
        await bench.BuildOnceAsync(Graph("second"));
        Assert.Equal("producer", bench.TakeExecuted());
        bench.Results.Delete("worker::same");
        await bench.BuildOnceAsync(Graph("second"));
        Assert.Equal("", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task No_cache_runs_every_step_and_a_normal_build_hits_what_it_saved()
    {
        await using var bench = new TestBench();
        Vertex Graph(bool ignore)
        {
            var a = Step("a", ignoreCache: ignore);
            return Step("b", [Out(a)], ignoreCache: ignore);
        }

        await bench.BuildOnceAsync(Graph(false));
        Assert.Equal("a b", bench.TakeExecuted());
        await bench.BuildOnceAsync(Graph(true));
        Assert.Equal("a b", bench.TakeExecuted());
        await bench.BuildOnceAsync(Graph(false));
        Assert.Equal("", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_no_cache_vertex_never_joins_a_normal_one_but_a_normal_one_may_join_it()
    {
        await using var bench = new TestBench();
        var normal = bench.NewJob();
        await using (await normal.BuildAsync(Out(Step("a")), default))
        {
        }
        var fresh = bench.NewJob();
        await using (await fresh.BuildAsync(Out(Step("a", ignoreCache: true)), default))
        {
        }
        Assert.Equal("a a", bench.TakeExecuted());
        var third = bench.NewJob();
        await using (await third.BuildAsync(Out(Step("a")), default))
        {
        }
        Assert.Equal("", bench.TakeExecuted());
        Assert.Equal(2, bench.Solver.ActiveVertexCount);
        await Task.WhenAll(normal.DiscardAsync(), fresh.DiscardAsync(), third.DiscardAsync());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task The_second_cache_map_is_asked_for_only_while_nothing_matched()
    {
        await using var bench = new TestBench();
        Vertex Image(string first) => Step("img", key: first, moreKeys: ["chain id"], id: first, value: "img");

        await bench.BuildOnceAsync(Step("run", [Out(Image("manifest 1"))]));
        Assert.Equal("img run", bench.TakeExecuted());
        bench.Mapped.Clear();

        await bench.BuildOnceAsync(Step("run", [Out(Image("manifest 1"))]));
        Assert.Equal(1, bench.Mapped.Count(n => n == "img"));
        bench.Mapped.Clear();

        // Another manifest with the same layers is found by its second key.
        await bench.BuildOnceAsync(Step("run", [Out(Image("manifest 2"))]));
        Assert.Equal("", bench.TakeExecuted());
        Assert.Equal(2, bench.Mapped.Count(n => n == "img"));
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_record_that_does_not_load_is_replaced_by_execution()
    {
        await using var bench = new TestBench();
        Vertex Graph() => Step("b", [Out(Step("a"))]);
        await bench.BuildOnceAsync(Graph());
        bench.TakeExecuted();
        bench.Results.FailingLoads["worker::b(a())"] = true;
        Assert.Equal("b(a())", await bench.BuildOnceAsync(Graph()));
        Assert.Equal("b", bench.TakeExecuted());

        bench.Results.Delete("worker::b(a())");
        bench.Results.Delete("worker::a()");
        Assert.Equal("b(a())", await bench.BuildOnceAsync(Graph()));
        Assert.Equal("a b", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Equal_steps_on_equal_content_of_different_sources_run_once()
    {
        await using var bench = new TestBench();
        Edge Branch(string source)
        {
            var local = Step(source, key: "random:" + Hash(source).Hex, value: "tree");
            var copy = Step("copy", [Out(local)], content: [0]);
            return Out(Step("run", [Out(copy)]));
        }

        var job = bench.NewJob();
        await using (var result = await job.BuildAsync(Out(Step("join", [Branch("left"), Branch("right")])), default))
            Assert.Equal("join(run(copy(tree)),run(copy(tree)))", result.Result!.Value);
        var executed = bench.TakeExecuted().Split(' ');
        Assert.Single(executed, "copy");
        Assert.Single(executed, "run");
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_merged_step_outlives_the_build_that_started_it()
    {
        await using var bench = new TestBench();
        var started = new TaskCompletionSource();
        var gate = new TaskCompletionSource();
        Vertex Graph(string source)
        {
            var local = Step(source, key: "random:" + Hash(source).Hex, value: "tree");
            return Step("copy", [Out(local)], content: [0], onRun: async token =>
            {
                started.TrySetResult();
                await gate.Task.WaitAsync(token);
            });
        }

        var first = bench.NewJob();
        var second = bench.NewJob();
        using var cancel = new CancellationTokenSource();
        var left = first.BuildAsync(Out(Graph("left")), cancel.Token);
        await started.Task;
        var merged = new TaskCompletionSource();
        var right = second.BuildAsync(Out(Graph("right")), default);
        while (bench.Executed.Count(n => n is "right") == 0)
            await Task.Yield();
        for (var i = 0; i < 50; i++)
        {
            await Task.Delay(1);
            await bench.Solver.Scheduler.FlushAsync();
        }
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => left);
        await first.DiscardAsync();
        gate.SetResult();
        await using (var result = await right)
            Assert.Equal("copy(tree)", result.Result!.Value);
        Assert.Single(bench.TakeExecuted().Split(' '), "copy");
        await second.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Both_outputs_of_a_step_come_from_one_execution()
    {
        await using var bench = new TestBench();
        var two = Step("two", run: (_, _, _) => Task.FromResult<IReadOnlyList<string>>(["zero", "one"]));
        Assert.Equal("join(one,zero)", await bench.BuildOnceAsync(Step("join", [Out(two, 1), Out(two)])));
        Assert.Equal("two join", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Scratch_is_a_result_too()
    {
        await using var bench = new TestBench();
        var empty = Step("empty", run: (_, _, _) => Task.FromResult<IReadOnlyList<string>>([""]));
        Assert.Equal("next()", await bench.BuildOnceAsync(Step("next", [Out(empty)])));
        Assert.Equal("next()", await bench.BuildOnceAsync(Step("next", [Out(empty)])));
        Assert.Equal("empty next", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task What_an_import_answers_is_copied_into_the_local_cache()
    {
        await using var remote = new TestBench();
        Vertex Graph(TestBench? import = null) => Step(
            "b", [Out(Step("a", sources: import is null ? [] : [new LocalCacheManager("import", import.Keys, import.Results)]))],
            sources: import is null ? [] : [new LocalCacheManager("import", import.Keys, import.Results)]);
        await remote.BuildOnceAsync(Graph());

        await using var bench = new TestBench();
        Assert.Equal("b(a())", await bench.BuildOnceAsync(Graph(remote)));
        Assert.Equal("", bench.TakeExecuted());
        // Saved by the load: found without the import, and only by what was loaded.
        Assert.Equal("b(a())", await bench.BuildOnceAsync(Graph()));
        Assert.Equal("", bench.TakeExecuted());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task An_import_that_resolves_later_is_waited_for_without_holding_up_others()
    {
        await using var remote = new TestBench();
        await remote.BuildOnceAsync(Step("a"));
        await using var bench = new TestBench();
        var slow = new SlowImport(new LocalCacheManager("import", remote.Keys, remote.Results));
        var waiting = bench.BuildOnceAsync(Step("a", sources: [slow]));
        Assert.Equal("other()", await bench.BuildOnceAsync(Step("other")));
        Assert.False(waiting.IsCompleted);
        slow.Ready.SetResult();
        Assert.Equal("a()", await waiting);
        Assert.Equal("other", bench.TakeExecuted());
    }

    private sealed class SlowImport(LocalCacheManager inner) : ICacheManager
    {
        public TaskCompletionSource Ready { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Id => inner.Id;

        public bool IsReady => Ready.Task.IsCompleted;

        public Task WhenReadyAsync(CancellationToken cancellationToken) => Ready.Task.WaitAsync(cancellationToken);

        public ValueTask<IReadOnlyList<CacheKey>> QueryAsync(
            IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, BuildKit.Oci.Digest operation, int output, CancellationToken cancellationToken) =>
            inner.QueryAsync(dependencyKeys, input, operation, output, cancellationToken);

        public ValueTask<IReadOnlyList<CacheRecord>> GetRecordsAsync(IOperationContext? context, CacheKey key, CancellationToken cancellationToken) =>
            inner.GetRecordsAsync(context, key, cancellationToken);

        public Task<IResult?> LoadAsync(IOperationContext? context, CacheRecord record, CancellationToken cancellationToken) =>
            inner.LoadAsync(context, record, cancellationToken);

        public ValueTask<ExportableCacheKey> SaveAsync(CacheKey key, IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken) =>
            throw new NotSupportedException();
    }
}
