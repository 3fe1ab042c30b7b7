using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Solver;

namespace BuildKit.Tests.Solver;

/// <summary>Counts live handles on results, so that leaks and double disposals show.</summary>
internal sealed class Ledger(string worker = "worker")
{
    private int _alive;
    private int _doubleDisposals;

    /// <summary>Where results are: the first part of their ids.</summary>
    public string Worker => worker;

    public int Alive => _alive;

    public int DoubleDisposals => _doubleDisposals;

    public IResult NewResult(string value) => new Handle(this, value);

    private sealed class Handle : IResult
    {
        private readonly Ledger _ledger;
        private int _disposed;

        public Handle(Ledger ledger, string value)
        {
            _ledger = ledger;
            Value = value;
            Interlocked.Increment(ref ledger._alive);
        }

        public string Id => $"{_ledger.Worker}::{Value}";

        public object Value { get; }

        public IResult Clone()
        {
            ObjectDisposedException.ThrowIf(_disposed != 0, this);
            return new Handle(_ledger, (string)Value);
        }

        public ValueTask DisposeAsync()
        {
            if (Interlocked.Exchange(ref _disposed, 1) != 0)
                Interlocked.Increment(ref _ledger._doubleDisposals);
            else
                Interlocked.Decrement(ref _ledger._alive);
            return ValueTask.CompletedTask;
        }
    }
}

/// <summary>Keeps results by id; they can be made to vanish or to fail.</summary>
internal sealed class FakeResults(Ledger ledger) : ICacheResultStorage
{
    private readonly ConcurrentDictionary<string, string> _values = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, bool> FailingLoads { get; } = new(StringComparer.Ordinal);

    public ConcurrentQueue<string> Loads { get; } = new();

    /// <summary>Results whose layers exist already.</summary>
    public HashSet<string> WithBlobs { get; } = new(StringComparer.Ordinal);

    public Func<Task> Delay { get; set; } = () => Task.CompletedTask;

    public void Delete(string id) => _values.TryRemove(id, out _);

    public ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken)
    {
        var id = result?.Id ?? ledger.Worker + "::";
        _values[id] = (string?)result?.Value ?? "";
        return ValueTask.FromResult(new CacheResultInfo(id, createdAt));
    }

    public async Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken)
    {
        Loads.Enqueue(result.Id);
        await Delay();
        cancellationToken.ThrowIfCancellationRequested();
        if (FailingLoads.ContainsKey(result.Id) || !_values.TryGetValue(result.Id, out var value))
            throw new IOException($"result {result.Id} is damaged");
        return value.Length == 0 ? null : ledger.NewResult(value);
    }

    public Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<object>>(WithBlobs.Contains(result.Id) ? ["blob of " + result.Id] : []);

    public bool Exists(string resultId) => _values.ContainsKey(resultId);
}

/// <summary>What a test vertex does.</summary>
internal sealed class TestStep
{
    public required string Name { get; init; }

    /// <summary>Digests of the cache maps, in order.</summary>
    public required IReadOnlyList<Digest> Keys { get; init; }

    /// <summary>Which inputs are keyed by content.</summary>
    public HashSet<int> ContentInputs { get; init; } = [];

    public Func<int, string> Selector { get; init; } = _ => "";

    /// <summary>Computes the outputs from the inputs' values.</summary>
    public required Func<IOperationContext, IReadOnlyList<string>, CancellationToken, Task<IReadOnlyList<string>>> Run { get; init; }

    public Func<int, CancellationToken, Task> OnCacheMap { get; init; } = (_, _) => Task.CompletedTask;

    public Func<string, string> Content { get; init; } = value => value;

    public Func<CancellationToken, Task> OnDigest { get; init; } = _ => Task.CompletedTask;

    public IReadOnlyDictionary<object, object> Options { get; init; } = new Dictionary<object, object>();
}

/// <summary>A solver over fake operations, and what they did.</summary>
internal sealed class TestBench : IOperationResolver, IAsyncDisposable
{
    private static int _unique;

    public TestBench(string worker = "worker")
    {
        Ledger = new Ledger(worker);
        Results = new FakeResults(Ledger);
        Cache = new LocalCacheManager(Keys, Results);
        Solver = new GraphSolver(this, Cache, TimeProvider.System);
    }

    public Ledger Ledger { get; }

    public InMemoryKeyStorage Keys { get; } = new();

    public FakeResults Results { get; }

    public LocalCacheManager Cache { get; }

    public GraphSolver Solver { get; }

    public ConcurrentQueue<string> Executed { get; } = new();

    public ConcurrentQueue<string> Mapped { get; } = new();

    public ConcurrentDictionary<string, ISubBuilder> SubBuilders { get; } = new(StringComparer.Ordinal);

    public SemaphoreSlim? Slots { get; set; }

    public static Digest Hash(string text) => Digest.Sha256(text);

    public IOperation Resolve(Vertex vertex, ISubBuilder subBuilder)
    {
        var step = (TestStep)vertex.Operation;
        SubBuilders[step.Name] = subBuilder;
        return new Operation(this, step, vertex.Inputs.Count);
    }

    /// <summary>A vertex whose value is <paramref name="value"/>, or the inputs' values in parentheses after its name.</summary>
    public static Vertex Step(
        string name, IReadOnlyList<Edge>? inputs = null, int[]? content = null, string? key = null, string? value = null,
        bool ignoreCache = false, IReadOnlyList<ICacheManager>? sources = null, string? id = null, string[]? moreKeys = null,
        Func<CancellationToken, Task>? onRun = null, Func<IOperationContext, IReadOnlyList<string>, CancellationToken, Task<IReadOnlyList<string>>>? run = null,
        Func<int, CancellationToken, Task>? onCacheMap = null, bool? exportCache = null, Func<int, string>? selector = null,
        Func<string, string>? contentOf = null, Func<CancellationToken, Task>? onDigest = null, IReadOnlyDictionary<object, object>? options = null)
    {
        inputs ??= [];
        var keys = new List<Digest> { key is not null && key.StartsWith("random:", StringComparison.Ordinal) ? Digest.Unchecked(key) : Hash(key ?? name) };
        keys.AddRange((moreKeys ?? []).Select(Hash));
        var step = new TestStep
        {
            Name = name,
            Keys = keys,
            ContentInputs = [.. content ?? []],
            OnCacheMap = onCacheMap ?? ((_, _) => Task.CompletedTask),
            OnDigest = onDigest ?? (_ => Task.CompletedTask),
            Selector = selector ?? (_ => ""),
            Content = contentOf ?? (v => v),
            Options = options ?? new Dictionary<object, object>(),
            Run = run ?? (async (_, values, token) =>
            {
                if (onRun is not null)
                    await onRun(token);
                return [value ?? $"{name}({string.Join(',', values)})"];
            }),
        };
        var digest = Hash((id ?? name) + "|" + string.Join("|", inputs.Select(i => i.Vertex.Digest + ":" + i.Index)));
        return new Vertex(digest, step, inputs, name, new VertexOptions
        {
            IgnoreCache = ignoreCache,
            CacheSources = sources ?? [],
            ExportCache = exportCache,
        });
    }

    public static Edge Out(Vertex vertex, int index = 0) => new(vertex, index);

    public async Task<string> BuildOnceAsync(Vertex vertex, int index = 0)
    {
        var job = Solver.NewJob("job" + Interlocked.Increment(ref _unique));
        try
        {
            await using var result = await job.BuildAsync(Out(vertex, index), CancellationToken.None);
            return (string?)result.Result?.Value ?? "";
        }
        finally
        {
            await job.DiscardAsync();
        }
    }

    public Job NewJob(string session = "") => NewJob(Solver, session);

    public static Job NewJob(GraphSolver solver, string session = "")
    {
        var job = solver.NewJob("job" + Interlocked.Increment(ref _unique));
        job.SessionId = session;
        return job;
    }

    /// <summary>Names executed so far, in order; forgets them.</summary>
    public string TakeExecuted()
    {
        List<string> names = [];
        while (Executed.TryDequeue(out var name))
            names.Add(name);
        return string.Join(' ', names);
    }

    /// <summary>Checks that nothing is left when every job was discarded.</summary>
    public async Task AssertNothingLeftAsync()
    {
        Assert.Equal(0, Solver.ActiveVertexCount);
        await Solver.Scheduler.FlushAsync();
        await Solver.WhenDisposedAsync();
        Assert.Equal(0, Ledger.Alive);
        Assert.Equal(0, Ledger.DoubleDisposals);
        Assert.Equal(0, Solver.Scheduler.Stalls);
        Assert.Equal(0, Solver.Scheduler.IndexedKeyCount);
    }

    public ValueTask DisposeAsync() => Solver.DisposeAsync();

    private sealed class Operation(TestBench bench, TestStep step, int inputs) : IOperation
    {
        public async Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            bench.Mapped.Enqueue(step.Name);
            await step.OnCacheMap(index, cancellationToken);
            var map = new CacheMap
            {
                Digest = step.Keys[index],
                Dependencies = Enumerable.Range(0, inputs).Select(Dependency).ToList(),
                Options = step.Options,
            };
            return new CacheMapResponse(map, index == step.Keys.Count - 1);
        }

        public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> values, CancellationToken cancellationToken)
        {
            bench.Executed.Enqueue(step.Name);
            var outputs = await step.Run(context, values.Select(v => (string?)v?.Value ?? "").ToList(), cancellationToken);
            return outputs.Select(o => o.Length == 0 ? null : bench.Ledger.NewResult(o)).ToList();
        }

        public async ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken)
        {
            if (bench.Slots is null)
                return null;
            await bench.Slots.WaitAsync(cancellationToken);
            return new Slot(bench.Slots);
        }

        private CacheMapDependency Dependency(int i)
        {
            var selector = step.Selector(i);
            return new CacheMapDependency
            {
                Selector = selector.Length == 0 ? default : Hash(selector),
                ComputeDigest = !step.ContentInputs.Contains(i) ? null : async (_, result, token) =>
                {
                    await step.OnDigest(token);
                    return Hash("content " + step.Content((string?)result?.Value ?? ""));
                },
            };
        }

        private sealed class Slot(SemaphoreSlim semaphore) : IDisposable
        {
            public void Dispose() => semaphore.Release();
        }
    }
}
