namespace BuildKit.Solver;

/// <summary>
/// A key storage that keeps the keys of client sessions (<c>random:</c>, the files a client sends for one build) in memory and
/// hands everything else on. No later session can have such a key again, so stored ones would only pile up: a daemon whose
/// builds are all cached would still add links with every build. The oldest are forgotten beyond a limit; what they
/// led to is found by content again.
/// </summary>
/// <param name="stored">Where all other keys are kept.</param>
/// <param name="mostKeys">How many session keys are remembered.</param>
public sealed class SessionKeyStorage(ICacheKeyStorage stored, int mostKeys = 10_000) : ICacheKeyStorage
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Entry> _keys = new(StringComparer.Ordinal);
    private readonly Queue<string> _order = new();
    private readonly Dictionary<string, HashSet<string>> _byTarget = new(StringComparer.Ordinal);
    private readonly Dictionary<string, HashSet<string>> _byResult = new(StringComparer.Ordinal);

    /// <summary>Session keys remembered now.</summary>
    public int SessionKeyCount
    {
        get
        {
            lock (_gate)
                return _keys.Count;
        }
    }

    /// <inheritdoc/>
    public bool Exists(string id)
    {
        if (!IsOfSession(id))
            return stored.Exists(id);
        lock (_gate)
            return _keys.ContainsKey(id);
    }

    /// <inheritdoc/>
    public IReadOnlyList<CacheResultInfo> GetResults(string id)
    {
        if (!IsOfSession(id))
            return stored.GetResults(id);
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) ? [.. entry.Results.Values] : [];
    }

    /// <inheritdoc/>
    public CacheResultInfo? GetResult(string id, string resultId)
    {
        if (!IsOfSession(id))
            return stored.GetResult(id, resultId);
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) && entry.Results.TryGetValue(resultId, out var result) ? result : null;
    }

    /// <inheritdoc/>
    public void AddResult(string id, CacheResultInfo result)
    {
        if (!IsOfSession(id))
        {
            stored.AddResult(id, result);
            return;
        }
        lock (_gate)
        {
            GetOrAdd(id).Results[result.Id] = result;
            Add(_byResult, result.Id, id);
        }
    }

    /// <inheritdoc/>
    public void Release(string resultId)
    {
        lock (_gate)
        {
            if (_byResult.Remove(resultId, out var keys))
            {
                foreach (var id in keys)
                {
                    var entry = _keys[id];
                    entry.Results.Remove(resultId);
                    if (entry.Results.Count == 0 && entry.Links.Count == 0)
                        Forget(id);
                }
            }
        }
        stored.Release(resultId);
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetKeysOfResult(string resultId)
    {
        var others = stored.GetKeysOfResult(resultId);
        lock (_gate)
            return _byResult.TryGetValue(resultId, out var keys) ? [.. others, .. keys] : others;
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetResultIds()
    {
        var others = stored.GetResultIds();
        lock (_gate)
            return _byResult.Count == 0 ? others : [.. others.Union(_byResult.Keys, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public void AddLink(string id, CacheLink link, string target)
    {
        if (!IsOfSession(id))
        {
            stored.AddLink(id, link, target);
            return;
        }
        lock (_gate)
        {
            GetOrAdd(id).Links.Add((link, target));
            Add(_byTarget, target, id);
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetLinks(string id, CacheLink link)
    {
        if (!IsOfSession(id))
            return stored.GetLinks(id, link);
        List<string> targets;
        lock (_gate)
            targets = _keys.TryGetValue(id, out var entry) ? [.. entry.Links.Where(l => l.Link == link).Select(l => l.Target)] : [];
        // A target that was released meanwhile leads nowhere.
        targets.RemoveAll(target => !stored.Exists(target));
        return targets;
    }

    /// <inheritdoc/>
    public bool HasLink(string id, CacheLink link, string target)
    {
        if (!IsOfSession(id))
            return stored.HasLink(id, link, target);
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) && entry.Links.Contains((link, target));
    }

    /// <inheritdoc/>
    public IReadOnlyList<CacheBacklink> GetBacklinks(string id)
    {
        var others = stored.GetBacklinks(id);
        lock (_gate)
        {
            if (!_byTarget.TryGetValue(id, out var sources))
                return others;
            return
            [
                .. others,
                .. sources.SelectMany(source => _keys[source].Links
                    .Where(l => l.Target == id)
                    .Select(l => new CacheBacklink(source, l.Link with { Digest = CacheKey.RecordDigest(l.Link.Digest, l.Link.Output), Output = 0 }))),
            ];
        }
    }

    /// <inheritdoc/>
    public void DropUnused() => stored.DropUnused();

    private static bool IsOfSession(string id) => id.StartsWith("random:", StringComparison.Ordinal);

    private Entry GetOrAdd(string id)
    {
        if (_keys.TryGetValue(id, out var entry))
            return entry;
        while ((_keys.Count >= mostKeys || _order.Count > 2 * mostKeys) && _order.TryDequeue(out var oldest))
            Forget(oldest);
        _order.Enqueue(id);
        return _keys[id] = new Entry();
    }

    private void Forget(string id)
    {
        if (!_keys.Remove(id, out var entry))
            return;
        foreach (var (_, target) in entry.Links)
            Remove(_byTarget, target, id);
        foreach (var result in entry.Results.Keys)
            Remove(_byResult, result, id);
    }

    private static void Add(Dictionary<string, HashSet<string>> index, string key, string id)
    {
        if (!index.TryGetValue(key, out var ids))
            index[key] = ids = new HashSet<string>(StringComparer.Ordinal);
        ids.Add(id);
    }

    private static void Remove(Dictionary<string, HashSet<string>> index, string key, string id)
    {
        if (index.TryGetValue(key, out var ids) && ids.Remove(id) && ids.Count == 0)
            index.Remove(key);
    }

    private sealed class Entry
    {
        public Dictionary<string, CacheResultInfo> Results { get; } = new(StringComparer.Ordinal);

        public HashSet<(CacheLink Link, string Target)> Links { get; } = [];
    }
}
