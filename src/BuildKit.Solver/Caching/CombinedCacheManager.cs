using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>The local cache and imported ones seen as one (spec 03 §7.4). Whatever is loaded from an import is saved
/// in the main manager.</summary>
public sealed class CombinedCacheManager : ICacheManager
{
    private readonly ICacheManager _main;
    private readonly IReadOnlyList<ICacheManager> _all;

    /// <summary>Combines managers; <paramref name="imported"/> must not hold <paramref name="main"/>.</summary>
    public CombinedCacheManager(ICacheManager main, IReadOnlyList<ICacheManager> imported)
    {
        _main = main;
        _all = [main, .. imported];
        Id = Digest.Sha256(string.Join(',', _all.Select(m => m.Id))).ToString();
    }

    /// <inheritdoc/>
    public string Id { get; }

    /// <inheritdoc/>
    public Task WhenReadyAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(_all.Select(m => m.WhenReadyAsync(cancellationToken)));

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CacheKey>> QueryAsync(
        IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, Digest operation, int output, CancellationToken cancellationToken)
    {
        var byId = new Dictionary<string, CacheKey>(StringComparer.Ordinal);
        foreach (var manager in _all)
        {
            // The vertex waited for its sources before its first lookup; one that was added to running work later must
            // not hold up the scheduler.
            if (!manager.IsReady)
                continue;
            foreach (var key in await manager.QueryAsync(dependencyKeys, input, operation, output, cancellationToken).ConfigureAwait(false))
            {
                if (byId.TryAdd(key.Id, key))
                    continue;
                // A key without inputs has the same id everywhere. One manager may know it only by its links; the result may
                // be in another.
                foreach (var (other, id) in key.Ids)
                    byId[key.Id].RememberId(other, id);
            }
        }
        return [.. byId.Values];
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CacheRecord>> GetRecordsAsync(IOperationContext? context, CacheKey key, CancellationToken cancellationToken)
    {
        var byId = new Dictionary<string, CacheRecord>(StringComparer.Ordinal);
        foreach (var (manager, priority) in ManagersOf(key))
        {
            foreach (var record in await manager.GetRecordsAsync(context, key, cancellationToken).ConfigureAwait(false))
                byId.TryAdd(record.Id, record with { Priority = priority });
        }
        return [.. byId.Values];
    }

    /// <inheritdoc/>
    public async Task<IResult?> LoadAsync(IOperationContext? context, CacheRecord record, CancellationToken cancellationToken)
    {
        if (ReferenceEquals(record.Manager, _main) || record.Manager is not LocalCacheManager manager)
            return await record.Manager.LoadAsync(context, record, cancellationToken).ConfigureAwait(false);

        var loaded = await manager.LoadWithParentsAsync(context, record, cancellationToken).ConfigureAwait(false);
        if (loaded.Count == 0)
            throw new CacheRecordGoneException("failed to load deleted cache");
        var kept = false;
        try
        {
            foreach (var (key, result) in loaded)
                await _main.SaveAsync(key, result.Result, result.CreatedAt, cancellationToken).ConfigureAwait(false);
            kept = true;
            return loaded[0].Loaded.Result;
        }
        finally
        {
            foreach (var (_, result) in loaded.Skip(kept ? 1 : 0))
            {
                if (result.Result is not null)
                    await result.Result.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask<ExportableCacheKey> SaveAsync(CacheKey key, IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken) =>
        _main.SaveAsync(key, result, createdAt, cancellationToken);

    /// <summary>The managers that know a key, main first, then imports in the order they were named.</summary>
    private List<(LocalCacheManager Manager, int Priority)> ManagersOf(CacheKey key) =>
        [.. key.Ids
            .Select(known => (Manager: known.Key, Index: IndexOf(known.Key)))
            .OrderBy(known => known.Index)
            .ThenBy(known => known.Manager.Id, StringComparer.Ordinal)
            .Select(known => (known.Manager, 1 - known.Index))];

    private int IndexOf(LocalCacheManager manager)
    {
        for (var i = 0; i < _all.Count; i++)
        {
            if (_all[i].Holds(manager))
                return i;
        }
        return _all.Count;
    }
}
