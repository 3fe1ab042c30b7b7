using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Solver;

namespace BuildKit.Scale;

/// <summary>Operations that do nothing but count, so that what is measured is the solver.</summary>
internal sealed class Operations : IOperationResolver
{
    private int _executed;

    /// <summary>Steps executed since the last call.</summary>
    public int TakeExecuted() => Interlocked.Exchange(ref _executed, 0);

    public IOperation Resolve(Vertex vertex, ISubBuilder subBuilder) => new Operation(this, vertex);

    private sealed class Operation(Operations owner, Vertex vertex) : IOperation
    {
        public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            var map = new CacheMap
            {
                Digest = (Digest)vertex.Operation,
                Dependencies = [.. vertex.Inputs.Select(_ => new CacheMapDependency())],
            };
            return Task.FromResult(new CacheMapResponse(map, true));
        }

        public Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref owner._executed);
            // What every real operation asks its context for: the sessions it may use.
            _ = context.SessionIds.Count();
            return Task.FromResult<IReadOnlyList<IResult?>>([new Result("scale::" + vertex.Digest.Hex)]);
        }

        public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => ValueTask.FromResult<IDisposable?>(null);
    }
}

/// <summary>A result that is nothing but its id.</summary>
internal sealed class Result(string id) : IResult
{
    public string Id => id;

    public object Value => id;

    public IResult Clone() => this;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}

/// <summary>Results by id; an import's exist without having been saved.</summary>
internal sealed class Results(bool isImport) : ICacheResultStorage
{
    private readonly ConcurrentDictionary<string, bool> _saved = new(StringComparer.Ordinal);

    public ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken)
    {
        _saved[result!.Id] = true;
        return ValueTask.FromResult(new CacheResultInfo(result.Id, createdAt));
    }

    public Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken)
    {
        // Loading asks the vertex and those below it for what lazy layers need, as a real one does.
        _ = context?.GetCacheOptions(includeAncestors: true, []);
        return Task.FromResult<IResult?>(new Result(result.Id));
    }

    public Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<object>>([]);

    public bool Exists(string resultId) => isImport || _saved.ContainsKey(resultId);
}
