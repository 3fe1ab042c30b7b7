using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// A cache manager over a key storage and a result storage of this process (spec 03 §7): the daemon's own cache,
/// or a parsed import. Which of the two it is shows only in the storages.
/// </summary>
public sealed class LocalCacheManager(string id, ICacheKeyStorage keys, ICacheResultStorage results) : ICacheManager
{
    private readonly Lock _gate = new();

    /// <summary>The manager of the daemon's own cache; its id is <c>local</c>.</summary>
    public LocalCacheManager(ICacheKeyStorage keys, ICacheResultStorage results)
        : this("local", keys, results)
    {
    }

    /// <inheritdoc/>
    public string Id { get; } = id;

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<CacheKey>> QueryAsync(
        IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, Digest operation, int output, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return ValueTask.FromResult(Query(dependencyKeys, input, operation, output));
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<CacheRecord>> GetRecordsAsync(IOperationContext? context, CacheKey key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        List<CacheRecord> records = [];
        foreach (var result in keys.GetResults(IdOf(key)))
        {
            if (results.Exists(result.Id))
                records.Add(new CacheRecord(result.Id, result.CreatedAt, this, key, 0));
            else
                keys.Release(result.Id);
        }
        return ValueTask.FromResult<IReadOnlyList<CacheRecord>>(records);
    }

    /// <inheritdoc/>
    public Task<IResult?> LoadAsync(IOperationContext? context, CacheRecord record, CancellationToken cancellationToken) =>
        results.LoadAsync(context, ResultOf(record), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<ExportableCacheKey> SaveAsync(CacheKey key, IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken)
    {
        var stored = await results.SaveAsync(result, createdAt, cancellationToken).ConfigureAwait(false);
        lock (_gate)
        {
            keys.AddResult(IdOf(key), stored);
            PersistLinks(key);
        }
        var record = new CacheRecord(stored.Id, stored.CreatedAt, this, key, 0);
        return new ExportableCacheKey(key, new KeyExporter(key) { Record = record });
    }

    /// <summary>Loads a record together with the records below it that the storage can bring back at the same time.
    /// The first result is the record's own.</summary>
    internal async Task<IReadOnlyList<(CacheKey Key, LoadedResult Loaded)>> LoadWithParentsAsync(
        IOperationContext? context, CacheRecord record, CancellationToken cancellationToken)
    {
        var stored = ResultOf(record);
        if (results is not IChainResultStorage chains)
        {
            var result = await results.LoadAsync(context, stored, cancellationToken).ConfigureAwait(false);
            return [(record.Key, new LoadedResult(result, stored.CreatedAt))];
        }
        var byKey = new Dictionary<string, LoadedResult>(
            await chains.LoadWithParentsAsync(context, stored, cancellationToken).ConfigureAwait(false), StringComparer.Ordinal);
        List<(CacheKey, LoadedResult)> loaded = [];
        if (byKey.ContainsKey(IdOf(record.Key)))
            Collect(record.Key);
        foreach (var (_, unused) in byKey)
        {
            if (unused.Result is not null)
                await unused.Result.DisposeAsync().ConfigureAwait(false);
        }
        return loaded;

        void Collect(CacheKey start)
        {
            var visited = new HashSet<string>(StringComparer.Ordinal);
            var pending = new Stack<CacheKey>([start]);
            while (pending.TryPop(out var key))
            {
                var keyId = IdOf(key);
                if (!visited.Add(keyId))
                    continue;
                if (byKey.Remove(keyId, out var result))
                    loaded.Add((key, result));
                foreach (var below in key.Dependencies.SelectMany(dependency => dependency).Reverse())
                    pending.Push(below.Key);
            }
        }
    }

    /// <summary>Forgets every result whose object is gone. Run at start, after pruning and now and then after
    /// automatic collection (spec 03 §7.2).</summary>
    public int ReleaseUnreferenced(CancellationToken cancellationToken)
    {
        var released = 0;
        foreach (var resultId in keys.GetResultIds())
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (results.Exists(resultId))
                continue;
            keys.Release(resultId);
            released++;
        }
        keys.DropUnused();
        return released;
    }

    internal Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheRecord record, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken) =>
        results.LoadRemotesAsync(context, ResultOf(record), compression, sessionIds, cancellationToken);

    internal IReadOnlyList<CacheBacklink> GetBacklinks(string keyId) => keys.GetBacklinks(keyId);

    internal IReadOnlyList<string> GetKeysOfResult(string resultId) => keys.GetKeysOfResult(resultId);

    /// <summary>The id of a key in this manager's storage: computed for keys without inputs, found by its links or
    /// made up for the others (spec 03 §7.1).</summary>
    internal string IdOf(CacheKey key)
    {
        if (key.TryGetId(this, out var known))
            return known;
        lock (_gate)
        {
            // Keys below first, and not by recursion: a chain of keys may be deeper than a thread's stack.
            var pending = new Stack<CacheKey>([key]);
            while (pending.TryPeek(out var next))
            {
                if (next.TryGetId(this, out _))
                {
                    pending.Pop();
                    continue;
                }
                CacheKey? unknown = null;
                var found = next.Dependencies.Count == 0
                    ? CacheKey.RecordDigest(next.Digest, next.Output).ToString()
                    : FindByDependencies(next, out unknown);
                if (found is null && unknown is not null)
                {
                    pending.Push(unknown);
                    continue;
                }
                next.RememberId(this, found ?? RandomId.New());
                pending.Pop();
            }
            return key.TryGetId(this, out known) ? known : throw new InvalidOperationException($"key {key.Digest} has no id");
        }
    }

    private CacheResultInfo ResultOf(CacheRecord record) =>
        keys.GetResult(IdOf(record.Key), record.Id)
        ?? throw new CacheRecordGoneException($"cache record {record.Id} is not stored under key {IdOf(record.Key)} any more");

    private IReadOnlyList<CacheKey> Query(IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, Digest operation, int output)
    {
        if (dependencyKeys.Count == 0)
        {
            var rootId = CacheKey.RecordDigest(operation, output).ToString();
            return keys.Exists(rootId) ? [CacheKey.Found(operation, output, this, rootId)] : [];
        }
        lock (_gate)
        {
            var sources = new (string Id, CacheLink Link, IReadOnlyList<string> Targets)[dependencyKeys.Count];
            var found = new SortedSet<string>(StringComparer.Ordinal);
            for (var i = 0; i < sources.Length; i++)
            {
                var link = new CacheLink(input, output, operation, dependencyKeys[i].Selector);
                var source = IdOf(dependencyKeys[i].Key);
                sources[i] = (source, link, keys.GetLinks(source, link));
                found.UnionWith(sources[i].Targets);
            }
            // What was reached from one key is from now on reachable from all of them (spec 03 §7.3).
            foreach (var (source, link, targets) in sources)
            {
                if (targets.Count == found.Count)
                    continue;
                foreach (var missing in found.Except(targets, StringComparer.Ordinal))
                    keys.AddLink(source, link, missing);
            }
            return found.Select(target => CacheKey.Found(operation, output, this, target)).ToList();
        }
    }

    /// <summary>The id of a key by the links that lead to it; null when there is none, or when the id of a key below,
    /// <paramref name="unknown"/>, has to be found before.</summary>
    private string? FindByDependencies(CacheKey key, out CacheKey? unknown)
    {
        unknown = null;
        HashSet<string>? candidates = null;
        for (var input = 0; input < key.Dependencies.Count; input++)
        {
            foreach (var dependency in key.Dependencies[input])
            {
                if (!dependency.Key.TryGetId(this, out var source))
                {
                    unknown = dependency.Key;
                    return null;
                }
                var targets = keys.GetLinks(source, new CacheLink(input, key.Output, key.Digest, dependency.Selector));
                if (candidates is null || input == 0)
                    (candidates ??= new HashSet<string>(StringComparer.Ordinal)).UnionWith(targets);
                else
                    candidates.IntersectWith(targets);
            }
            if (candidates is null or { Count: 0 })
                return null;
        }
        return candidates?.Min(StringComparer.Ordinal);
    }

    /// <summary>Stores the links that lead to a key, those of the keys below it first, as far down as they are new.</summary>
    private void PersistLinks(CacheKey top)
    {
        List<(string Source, CacheLink Link, string Target)> missing = [];
        var visited = new HashSet<CacheKey>(ReferenceEqualityComparer.Instance);
        var pending = new Stack<CacheKey>([top]);
        while (pending.TryPop(out var key))
        {
            if (!visited.Add(key))
                continue;
            var target = IdOf(key);
            for (var input = 0; input < key.Dependencies.Count; input++)
            {
                foreach (var dependency in key.Dependencies[input])
                {
                    var link = new CacheLink(input, key.Output, key.Digest, dependency.Selector);
                    var source = IdOf(dependency.Key);
                    if (source == target || keys.HasLink(source, link, target))
                        continue;
                    missing.Add((source, link, target));
                    pending.Push(dependency.Key);
                }
            }
        }
        for (var i = missing.Count - 1; i >= 0; i--)
            keys.AddLink(missing[i].Source, missing[i].Link, missing[i].Target);
    }
}

/// <summary>A record that was found a moment ago is not stored any more; the caller falls back to another one.</summary>
public sealed class CacheRecordGoneException(string message) : Exception(message);
