using System.Collections.Concurrent;
using System.Globalization;
using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

/// <summary>Random graphs, delays, cancellations and failures against a solver that just evaluates (fixed seeds).</summary>
public sealed class RandomScheduleTests
{
    [Theory]
    [InlineData(0, 600)]
    [InlineData(1000, 600)]
    public async Task Builds_give_what_evaluation_gives_and_run_each_key_once(int firstSeed, int count)
    {
        for (var seed = firstSeed; seed < firstSeed + count; seed++)
            await RunAsync(seed, troubled: false);
    }

    [Theory]
    [InlineData(5000, 1000)]
    public async Task Cancelled_and_failing_builds_leave_nothing_behind_and_do_not_harm_others(int firstSeed, int count)
    {
        for (var seed = firstSeed; seed < firstSeed + count; seed++)
            await RunAsync(seed, troubled: true);
    }

    [Theory]
    [InlineData(20_000, 500)]
    [InlineData(30_000, 500)]
    public async Task Whatever_an_imported_cache_holds_or_has_lost_results_are_right(int firstSeed, int count)
    {
        for (var seed = firstSeed; seed < firstSeed + count; seed++)
            await RunWithImportAsync(seed);
    }

    /// <summary>Another machine built some of the graph; its cache is imported here, complete, with results lost, or with
    /// results that cannot be loaded.</summary>
    private static async Task RunWithImportAsync(int seed)
    {
        await using var elsewhere = new TestBench("elsewhere");
        var made = new Model(new Random(seed), troubled: false);
        var random = new Random(seed + 1);
        var builtElsewhere = made.Nodes.Where(_ => random.Next(4) > 0).ToList();
        var job = elsewhere.NewJob();
        foreach (var node in builtElsewhere)
            await (await job.BuildAsync(Out(node.Vertex, node.Output), CancellationToken.None)).DisposeAsync();
        await job.DiscardAsync();
        await elsewhere.AssertNothingLeftAsync();
        var isHarmed = random.Next(3) > 0;
        foreach (var id in isHarmed ? elsewhere.Keys.GetResultIds() : [])
        {
            if (random.Next(3) == 0)
                elsewhere.Results.Delete(id);
            else if (random.Next(3) == 0)
                elsewhere.Results.FailingLoads[id] = true;
        }

        var import = new LocalCacheManager("import", elsewhere.Keys, elsewhere.Results);
        elsewhere.Results.Delay = made.DelayAsync;
        await RunAsync(seed, troubled: false, [import], model =>
        {
            // What was built there, and has a result, is not built here.
            var known = builtElsewhere.Select(node => node.Identity).ToHashSet(StringComparer.Ordinal);
            var again = model.Completed.Keys.Where(known.Contains).ToList();
            if (!isHarmed)
                Assert.True(again.Count == 0, $"seed {seed}: executed although imported: {string.Join(", ", again)}");
        });
    }

    private static async Task RunAsync(int seed, bool troubled, IReadOnlyList<ICacheManager>? sources = null, Action<Model>? check = null)
    {
        var random = new Random(seed);
        await using var bench = new TestBench();
        var model = new Model(random, troubled, sources);
        bench.Results.Delay = model.DelayAsync;

        for (var round = 0; round < 2; round++)
        {
            var jobs = Enumerable.Range(0, random.Next(1, 4)).Select(_ => bench.NewJob()).ToList();
            List<Task> builds = [];
            foreach (var job in jobs)
            {
                for (var n = random.Next(1, 3); n > 0; n--)
                {
                    var target = model.Pick();
                    var cancelAfter = troubled && random.Next(3) == 0 ? random.Next(0, 60) : -1;
                    builds.Add(CheckAsync(job, target, cancelAfter));
                }
            }
            await Task.WhenAll(builds);
            await Task.WhenAll(jobs.Select(j => j.DiscardAsync()));
            try
            {
                await bench.AssertNothingLeftAsync();
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"seed {seed}: {e.Message}", e);
            }
            if (!troubled)
            {
                var twice = model.Completed.Where(c => c.Value > 1).Select(c => c.Key).ToList();
                Assert.True(twice.Count == 0, $"seed {seed} round {round}: executed more than once: {string.Join(", ", twice)}");
            }
            check?.Invoke(model);
        }

        async Task CheckAsync(Job job, Model.Node target, int cancelAfter)
        {
            using var cancel = new CancellationTokenSource();
            var canceler = CancelAsync();
            try
            {
                await using var result = await job.BuildAsync(Out(target.Vertex, target.Output), cancel.Token);
                var value = (string?)result.Result?.Value ?? "";
                Assert.True(value == target.Value, $"seed {seed}: {target.Vertex.Name} gave {value}, expected {target.Value}");
            }
            catch (OperationCanceledException) when (cancelAfter >= 0)
            {
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException && Root(e) is Model.StepFailedException)
            {
                Assert.True(target.MayFail, $"seed {seed}: {target.Vertex.Name} failed but nothing below it may fail");
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                throw new InvalidOperationException($"seed {seed}: {target.Vertex.Name}: {e}", e);
            }
            await canceler;

            async Task CancelAsync()
            {
                for (var i = 0; i < cancelAfter; i++)
                    await Task.Yield();
                if (cancelAfter >= 0)
                    await cancel.CancelAsync();
            }
        }
    }

    private static Exception Root(Exception e)
    {
        while (e.InnerException is not null)
            e = e.InnerException;
        return e;
    }

    private sealed class Model
    {
        private readonly List<Node> _nodes = [];
        private readonly Random _random;
        private readonly IReadOnlyList<ICacheManager> _sources;

        public Model(Random random, bool troubled, IReadOnlyList<ICacheManager>? sources = null)
        {
            _random = random;
            _sources = sources ?? [];
            var count = random.Next(3, 14);
            for (var i = 0; i < count; i++)
                Add(i, troubled);
        }

        public ConcurrentDictionary<string, int> Completed { get; } = new(StringComparer.Ordinal);

        public IReadOnlyList<Node> Nodes => _nodes;

        public Node Pick() => _nodes[^(1 + _random.Next(Math.Min(4, _nodes.Count)))];

        public async Task DelayAsync()
        {
            for (var i = Next(6); i > 0; i--)
                await Task.Yield();
        }

        private int Next(int max)
        {
            lock (_random)
                return _random.Next(max);
        }

        private void Add(int i, bool troubled)
        {
            var inputs = i < 2 ? [] : Enumerable.Range(0, _random.Next(0, Math.Min(4, i))).Select(_ => _nodes[_random.Next(_nodes.Count)]).ToList();
            var content = Enumerable.Range(0, inputs.Count).Where(_ => _random.Next(2) == 0).ToArray();
            var kind = "op" + _random.Next(5);
            var isLocal = inputs.Count == 0 && _random.Next(2) == 0;
            var key = inputs.Count == 0
                ? isLocal ? "random:" + Hash("local" + i).Hex : "source" + _random.Next(4)
                : kind;
            var fails = troubled && _random.Next(12) == 0;
            var more = _random.Next(4) == 0 && inputs.Count == 0 ? [key + " second"] : Array.Empty<string>();
            // Sources of one key have one value; operations have few different values, so that contents coincide.
            string ValueOf(IEnumerable<string> values, int output) => inputs.Count == 0
                ? "s" + (isLocal ? (Hash(i.ToString(CultureInfo.InvariantCulture)).Hex[0] % 3).ToString(CultureInfo.InvariantCulture) : Hash(key).Hex[..4])
                : "v" + Hash(kind + string.Join('|', values) + output).Hex[..2];
            var values = inputs.ConvertAll(n => n.Value);
            // Equal steps asked for different outputs run once each: a key is one output of a step.
            var anyOutput = _random.Next(5) == 0 ? 1 : 0;
            var output = inputs.Count == 0 ? 0 : troubled ? anyOutput : Hash(kind).Hex[0] % 2;
            var identity = Hash(key + "(" + string.Join(",", inputs.Select((n, j) => content.Contains(j) ? "content " + n.Value : n.Identity + ":" + n.Output)) + ")"
                + (isLocal ? i : "")).ToString() + string.Concat(content);
            // Content inputs are part of what the operation is: the same operation always treats them the same way.
            var opKey = inputs.Count == 0 ? key : $"{key} {inputs.Count} {string.Concat(content)}";
            identity = opKey + identity;
            var vertex = Step(
                "n" + i, inputs.ConvertAll(n => Out(n.Vertex, n.Output)), content, key: opKey, id: "n" + i + "/" + opKey, moreKeys: more,
                ignoreCache: false, sources: _sources,
                onCacheMap: (_, token) => WorkAsync(token),
                onDigest: WorkAsync,
                run: async (_, given, token) =>
                {
                    await WorkAsync(token);
                    Assert.Equal(values, given);
                    if (fails)
                        throw new StepFailedException($"n{i} fails");
                    // Failing or not is not part of the key, so steps of one key may differ in it when troubled.
                    Completed.AddOrUpdate(identity, 1, (_, n) => n + 1);
                    return [ValueOf(given, 0), ValueOf(given, 1)];
                });
            _nodes.Add(new Node(vertex, output, ValueOf(values, output), identity, () => _failingKeys.Contains(opKey) || inputs.Exists(n => n.MayFail)));
            if (fails)
                _failingKeys.Add(opKey);
        }

        private readonly HashSet<string> _failingKeys = new(StringComparer.Ordinal);

        private async Task WorkAsync(CancellationToken cancellationToken)
        {
            await DelayAsync();
            cancellationToken.ThrowIfCancellationRequested();
        }

        public sealed record Node(Vertex Vertex, int Output, string Value, string Identity, Func<bool> Fails)
        {
            /// <summary>A step below fails, or is equal to one that does and may be merged with it.</summary>
            public bool MayFail => Fails();
        }

        public sealed class StepFailedException(string message) : Exception(message);
    }
}
