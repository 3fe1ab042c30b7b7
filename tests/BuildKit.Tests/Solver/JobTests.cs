using BuildKit.Oci;
using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

public sealed class JobTests
{
    [Fact]
    public async Task Two_builds_share_a_running_step_and_cancelling_one_does_not_stop_it()
    {
        await using var bench = new TestBench();
        var started = new TaskCompletionSource();
        var gate = new TaskCompletionSource();
        var stopped = false;
        Vertex Graph() => Step("run", onRun: async token =>
        {
            started.TrySetResult();
            using var _ = token.Register(() => stopped = true);
            await gate.Task.WaitAsync(token);
        });

        var (first, second) = (bench.NewJob(), bench.NewJob());
        using var cancel = new CancellationTokenSource();
        var one = first.BuildAsync(Out(Graph()), cancel.Token);
        await started.Task;
        var two = second.BuildAsync(Out(Graph()), default);
        await bench.Solver.Scheduler.FlushAsync();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => one);
        await first.DiscardAsync();
        Assert.False(stopped);
        gate.SetResult();
        await using (var result = await two)
            Assert.Equal("run()", result.Result!.Value);
        Assert.Equal("run", bench.TakeExecuted());
        await second.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task When_the_last_build_is_cancelled_the_step_stops_and_a_later_build_runs_it_again()
    {
        await using var bench = new TestBench();
        var started = new TaskCompletionSource();
        var hang = true;
        var stopping = new TaskCompletionSource();
        var winddown = new TaskCompletionSource();
        Vertex Graph() => Step("run", onRun: async token =>
        {
            if (!hang)
                return;
            started.TrySetResult();
            try
            {
                await Task.Delay(Timeout.Infinite, token);
            }
            finally
            {
                stopping.SetResult();
                await winddown.Task;
            }
        });

        var job = bench.NewJob();
        using var cancel = new CancellationTokenSource();
        var build = job.BuildAsync(Out(Graph()), cancel.Token);
        await started.Task;
        await cancel.CancelAsync();
        await stopping.Task;
        Assert.False(build.IsCompleted);
        hang = false;
        var again = job.BuildAsync(Out(Graph()), default);
        await bench.Solver.Scheduler.FlushAsync();
        winddown.SetResult();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => build);
        await using (var result = await again)
            Assert.Equal("run()", result.Result!.Value);
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Discarding_a_job_stops_its_builds()
    {
        await using var bench = new TestBench();
        var started = new TaskCompletionSource();
        var job = bench.NewJob();
        var build = job.BuildAsync(
            Out(Step("run", onRun: async token =>
            {
                started.SetResult();
                await Task.Delay(Timeout.Infinite, token);
            })), default);
        await started.Task;
        await job.DiscardAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => build);
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_failure_names_the_vertex_as_the_client_sent_it_and_is_final_for_the_active_vertex()
    {
        await using var bench = new TestBench();
        var failing = Step("bad", onRun: _ => throw new InvalidOperationException("exit code: 1"));
        var top = Step("top", [Out(failing)]);
        var (first, second) = (bench.NewJob(), bench.NewJob());
        var error = await Assert.ThrowsAnyAsync<Exception>(() => first.BuildAsync(Out(top), default));
        Assert.Equal("exit code: 1", error.Message);
        var vertex = Assert.IsType<VertexException>(error);
        Assert.Equal(failing.Digest, vertex.Vertex);
        Assert.Same(failing.Operation, vertex.Operation);
        await Assert.ThrowsAnyAsync<VertexException>(() => second.BuildAsync(Out(top), default));
        Assert.Equal("bad", bench.TakeExecuted());
        await Task.WhenAll(first.DiscardAsync(), second.DiscardAsync());
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Failed_cache_keys_say_what_was_computed_and_on_which_input()
    {
        await using var bench = new TestBench();
        var job = bench.NewJob();
        var map = Step("source", onCacheMap: (_, _) => throw new IOException("no route to host"));
        var mapError = await Assert.ThrowsAnyAsync<Exception>(() => job.BuildAsync(Out(map), default));
        Assert.Equal("failed to load cache key: no route to host", mapError.Message);
        Assert.Equal(map.Digest, Assert.IsType<VertexException>(mapError.InnerException).Vertex);

        var copy = Step("copy", [Out(Step("context", key: "random:" + Hash("x").Hex))], content: [0], onDigest: _ => throw new IOException("\"/x\": not found"));
        var slowError = await Assert.ThrowsAnyAsync<Exception>(() => job.BuildAsync(Out(copy), default));
        Assert.Equal("failed to compute cache key: \"/x\": not found", slowError.Message);
        var slow = Assert.IsType<SlowCacheException>(slowError.InnerException!.InnerException);
        Assert.Equal(0, slow.Input);
        Assert.Equal("context()", slow.Result!.Value);
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_running_step_builds_further_graphs_below_itself()
    {
        await using var bench = new TestBench();
        string? sessions = null;
        var inner = Step("inner", run: (context, _, _) =>
        {
            sessions = string.Join(' ', context.SessionIds);
            return Task.FromResult<IReadOnlyList<string>>(["inner value"]);
        });
        var outer = Step("outer", run: async (_, _, token) =>
        {
            await using var result = await bench.SubBuilders["outer"].BuildAsync(Out(inner), token);
            return ["outer of " + result.Result!.Value];
        });
        var job = bench.NewJob("session1");
        await using (var result = await job.BuildAsync(Out(outer), default))
        {
            Assert.Equal("outer of inner value", result.Result!.Value);
            var target = new FakeTarget();
            await result.Keys[0].Exporter.ExportToAsync(target, FakeTarget.Options(CacheExportMode.Max), default);
            Assert.Contains(CacheKey.RecordDigest(Hash("inner"), 0), target.Records.Select(r => r.Digest));
        }
        Assert.Equal("session1", sessions);
        await job.DiscardAsync();
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Executions_wait_for_a_slot_and_cache_loads_do_not()
    {
        await using var bench = new TestBench { Slots = new SemaphoreSlim(1) };
        await bench.BuildOnceAsync(Step("cached"));
        var running = 0;
        async Task Alone(CancellationToken token)
        {
            Assert.Equal(1, Interlocked.Increment(ref running));
            Assert.Equal("cached()", await bench.BuildOnceAsync(Step("cached")));
            Interlocked.Decrement(ref running);
        }

        await bench.BuildOnceAsync(Step("top", [Out(Step("a", onRun: Alone)), Out(Step("b", onRun: Alone))]));
        Assert.Equal("cached", bench.TakeExecuted().Split(' ')[0]);
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Cache_options_come_from_the_step_then_from_its_inputs()
    {
        await using var bench = new TestBench();
        IReadOnlyDictionary<object, object>? near = null, far = null;
        var image = Step("image", options: new Dictionary<object, object> { ["layer"] = "provider", ["both"] = "image" });
        var run = Step("run", [Out(image)], options: new Dictionary<object, object> { ["both"] = "run" }, run: (context, _, _) =>
        {
            near = context.GetCacheOptions(false, ["layer", "both"]);
            far = context.GetCacheOptions(true, ["layer", "both"]);
            return Task.FromResult<IReadOnlyList<string>>(["x"]);
        });
        await bench.BuildOnceAsync(run);
        Assert.Equal("run", Assert.Single(near!).Value);
        Assert.Equal("provider", far!["layer"]);
        Assert.Equal("run", far["both"]);
    }

    [Fact]
    public async Task An_unknown_job_is_not_found_and_a_taken_id_is_refused()
    {
        await using var bench = new TestBench();
        var job = bench.Solver.NewJob("x");
        Assert.Equal("job ID x exists", Assert.Throws<JobExistsException>(() => bench.Solver.NewJob("x")).Message);
        var late = bench.Solver.GetJobAsync("y", default);
        Assert.False(late.IsCompleted);
        var other = bench.Solver.NewJob("y");
        Assert.Same(other, await late);
        await job.DiscardAsync();
        Assert.Same(job, await bench.Solver.GetJobAsync("x", default));
        await other.DiscardAsync();
    }

    [Fact]
    public async Task Steps_below_a_cache_hit_are_shown_as_cached_to_early_and_late_readers()
    {
        await using var bench = new TestBench();
        Vertex Graph() => Step("c", [Out(Step("b", [Out(Step("a"))]))]);
        await bench.BuildOnceAsync(Graph());

        var job = bench.NewJob();
        var early = ReadAsync(job);
        await using (await job.BuildAsync(Out(Graph()), default))
        {
        }
        await job.DiscardAsync();
        foreach (var seen in new[] { await early, await ReadAsync(job) })
        {
            foreach (var name in new[] { "a", "b", "c" })
            {
                var updates = seen.Where(v => v.Name == name).ToList();
                Assert.Null(updates[0].Started);
                Assert.True(updates[^1].Completed is not null && updates[^1].Error.Length == 0, $"{name}: {string.Join("; ", updates)}");
            }
            Assert.True(seen.Last(v => v.Name == "b").Cached);
            Assert.True(seen.Last(v => v.Name == "c").Cached);
        }
    }

    [Fact]
    public async Task A_step_that_joined_late_shows_its_earlier_log_and_open_steps_end_as_cancelled()
    {
        await using var bench = new TestBench();
        var started = new TaskCompletionSource();
        Vertex Graph() => Step("run", run: async (context, _, token) =>
        {
            context.Progress.Write(new ProgressLog(default, 1, "hello"u8.ToArray(), DateTimeOffset.UnixEpoch));
            started.TrySetResult();
            await Task.Delay(Timeout.Infinite, token);
            return [];
        });
        var (first, second) = (bench.NewJob(), bench.NewJob());
        var one = first.BuildAsync(Out(Graph()), default);
        await started.Task;
        var two = second.BuildAsync(Out(Graph()), default);
        var logs = 0;
        await foreach (var status in second.StatusAsync(default))
        {
            logs += status.Logs.Count;
            if (logs > 0)
                break;
        }
        Assert.Equal(1, logs);
        second.CloseProgress();
        var last = (await ReadAsync(second)).Last();
        Assert.Equal("context canceled", last.Error);
        Assert.NotNull(last.Completed);
        await first.DiscardAsync();
        await second.DiscardAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => one);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => two);
        await bench.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task Work_outside_the_graph_is_shown_as_a_vertex()
    {
        await using var bench = new TestBench();
        var job = bench.NewJob("s");
        Assert.Equal("s", await job.InContextAsync("exporting", (context, _) => Task.FromResult(context.SessionIds.Single()), default, id: "s-cache-0"));
        await Assert.ThrowsAsync<IOException>(() => job.InContextAsync<int>("importing", (_, _) => throw new IOException("not there"), default));
        await job.DiscardAsync();
        var seen = await ReadAsync(job);
        Assert.Equal(Digest.Sha256("s-cache-0"), seen.Last(v => v.Name == "exporting").Digest);
        Assert.Equal("", seen.Last(v => v.Name == "exporting").Error);
        Assert.Equal("not there", seen.Last(v => v.Name == "importing").Error);
    }

    private static async Task<List<VertexStatusUpdate>> ReadAsync(Job job)
    {
        List<VertexStatusUpdate> seen = [];
        await foreach (var status in job.StatusAsync(default))
            seen.AddRange(status.Vertices);
        return seen;
    }
}

/// <summary>An export target that just remembers.</summary>
internal sealed class FakeTarget : ICacheExporterTarget
{
    private readonly Dictionary<object, IReadOnlyList<ICacheExporterRecord>> _visited = [];

    public List<Record> Records { get; } = [];

    public static CacheExportOptions Options(CacheExportMode mode, List<string>? made = null, bool backlinks = false) => new()
    {
        Mode = mode,
        IgnoreBacklinks = !backlinks,
        ResolveRemotes = (result, _) =>
        {
            made?.Add((string)result.Value);
            return Task.FromResult<IReadOnlyList<object>>(["layers of " + result.Value]);
        },
    };

    public ICacheExporterRecord Add(Digest digest)
    {
        var record = new Record(digest);
        Records.Add(record);
        return record;
    }

    public bool TryGetVisited(object exporter, out IReadOnlyList<ICacheExporterRecord> records) => _visited.TryGetValue(exporter, out records!);

    public void Visit(object exporter, IReadOnlyList<ICacheExporterRecord> records) => _visited[exporter] = records;

    public sealed class Record(Digest digest) : ICacheExporterRecord
    {
        public Digest Digest { get; } = digest;

        public List<object> Results { get; } = [];

        public List<(Record Source, int Input, Digest Selector)> Links { get; } = [];

        public void AddResult(Digest vertex, int output, DateTimeOffset createdAt, object remote) => Results.Add(remote);

        public void LinkFrom(ICacheExporterRecord source, int input, Digest selector) => Links.Add(((Record)source, input, selector));
    }
}
