using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// A store of cache keys and the results behind them: the local one, an imported one or several combined.
/// Semantics of each call: spec 03 §7. All members may be called concurrently.
/// </summary>
public interface ICacheManager
{
    /// <summary>Identity; the first manager per id counts.</summary>
    string Id { get; }

    /// <summary>Whether the manager can answer now. A manager that is not ready is left out of a lookup.</summary>
    bool IsReady => true;

    /// <summary>Completes when the manager can answer (an import has been resolved, or has failed and will answer
    /// with nothing). Never fails for any other reason than cancellation.</summary>
    Task WhenReadyAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Whether records of <paramref name="manager"/> belong to this one.</summary>
    bool Holds(ICacheManager manager) => ReferenceEquals(this, manager);

    /// <summary>Keys reachable from any of the given dep keys by one step of the given operation.</summary>
    ValueTask<IReadOnlyList<CacheKey>> QueryAsync(
        IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, Digest operation, int output, CancellationToken cancellationToken);

    /// <summary>Records stored under a key whose results still exist.</summary>
    ValueTask<IReadOnlyList<CacheRecord>> GetRecordsAsync(IOperationContext? context, CacheKey key, CancellationToken cancellationToken);

    /// <summary>Loads a record's result. Failure is not fatal to a build: the caller falls back.</summary>
    Task<IResult?> LoadAsync(IOperationContext? context, CacheRecord record, CancellationToken cancellationToken);

    /// <summary>Stores a result under a key and persists the key's links.</summary>
    ValueTask<ExportableCacheKey> SaveAsync(CacheKey key, IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken);
}

/// <summary>A key of a dependency together with the part of it that is used.</summary>
public readonly record struct CacheKeyWithSelector(CacheKey Key, Digest Selector)
{
    /// <summary>Exports the dependency; null for keys that are only looked up.</summary>
    public ICacheExporter? Exporter { get; init; }
}

/// <summary>Where a manager keeps the results behind record ids: the worker for the local cache, the
/// importer for a remote one.</summary>
public interface ICacheResultStorage
{
    /// <summary>Marks a result to be kept and returns the id under which it can be loaded.</summary>
    ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken);

    /// <summary>Loads a result by id.</summary>
    Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken);

    /// <summary>The layers of a result that can be exported without doing work; empty when there are none.
    /// Opaque to the solver (<c>RemoteLayers</c> of BuildKit.Storage).</summary>
    Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken);

    /// <summary>Whether the result behind an id still exists.</summary>
    bool Exists(string resultId);
}

/// <summary>A result storage that can also bring back what lies below a result (imported caches, spec 03 §7.4).</summary>
public interface IChainResultStorage : ICacheResultStorage
{
    /// <summary>Loads a result and every result below it whose layers are a prefix of its layers, by key id. Each
    /// result is owned by the caller.</summary>
    Task<IReadOnlyDictionary<string, LoadedResult>> LoadWithParentsAsync(
        IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken);
}

/// <summary>A result brought back from a storage and when it was made.</summary>
public readonly record struct LoadedResult(IResult? Result, DateTimeOffset CreatedAt);

/// <summary>A stored result: its id and when it was made (kept when imported, it decides which record is best).</summary>
public readonly record struct CacheResultInfo(string Id, DateTimeOffset CreatedAt);
