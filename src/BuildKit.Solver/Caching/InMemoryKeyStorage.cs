namespace BuildKit.Solver;

/// <summary>A key storage that lives and dies with the process.</summary>
public sealed class InMemoryKeyStorage : ICacheKeyStorage
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Entry> _keys = new(StringComparer.Ordinal);
    private readonly Dictionary<string, HashSet<string>> _byResult = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public bool Exists(string id)
    {
        lock (_gate)
            return _keys.ContainsKey(id);
    }

    /// <inheritdoc/>
    public IReadOnlyList<CacheResultInfo> GetResults(string id)
    {
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) ? [.. entry.Results.Values] : [];
    }

    /// <inheritdoc/>
    public CacheResultInfo? GetResult(string id, string resultId)
    {
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) && entry.Results.TryGetValue(resultId, out var result) ? result : null;
    }

    /// <inheritdoc/>
    public void AddResult(string id, CacheResultInfo result)
    {
        lock (_gate)
        {
            GetOrAdd(id).Results[result.Id] = result;
            if (!_byResult.TryGetValue(result.Id, out var keys))
                _byResult[result.Id] = keys = new HashSet<string>(StringComparer.Ordinal);
            keys.Add(id);
        }
    }

    /// <inheritdoc/>
    public void Release(string resultId)
    {
        lock (_gate)
        {
            if (!_byResult.Remove(resultId, out var keys))
                return;
            foreach (var id in keys)
            {
                _keys[id].Results.Remove(resultId);
                RemoveIfUnused(id);
            }
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetKeysOfResult(string resultId)
    {
        lock (_gate)
            return _byResult.TryGetValue(resultId, out var keys) ? [.. keys] : [];
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetResultIds()
    {
        lock (_gate)
            return [.. _byResult.Keys];
    }

    /// <inheritdoc/>
    public void AddLink(string id, CacheLink link, string target)
    {
        lock (_gate)
        {
            var links = GetOrAdd(id).Links;
            if (!links.TryGetValue(link, out var targets))
                links[link] = targets = new HashSet<string>(StringComparer.Ordinal);
            targets.Add(target);
            GetOrAdd(target).Sources.Add(id);
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetLinks(string id, CacheLink link)
    {
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) && entry.Links.TryGetValue(link, out var targets) ? [.. targets] : [];
    }

    /// <inheritdoc/>
    public bool HasLink(string id, CacheLink link, string target)
    {
        lock (_gate)
            return _keys.TryGetValue(id, out var entry) && entry.Links.TryGetValue(link, out var targets) && targets.Contains(target);
    }

    /// <inheritdoc/>
    public IReadOnlyList<CacheBacklink> GetBacklinks(string id)
    {
        lock (_gate)
        {
            if (!_keys.TryGetValue(id, out var entry))
                return [];
            var backlinks = new List<CacheBacklink>();
            foreach (var source in entry.Sources)
            {
                foreach (var (link, targets) in _keys[source].Links)
                {
                    if (targets.Contains(id))
                        backlinks.Add(new CacheBacklink(source, link with { Digest = CacheKey.RecordDigest(link.Digest, link.Output), Output = 0 }));
                }
            }
            return backlinks;
        }
    }

    private Entry GetOrAdd(string id)
    {
        if (!_keys.TryGetValue(id, out var entry))
            _keys[id] = entry = new Entry();
        return entry;
    }

    private void RemoveIfUnused(string start)
    {
        var pending = new Stack<string>([start]);
        while (pending.TryPop(out var id))
        {
            if (!_keys.TryGetValue(id, out var entry) || entry.Results.Count > 0 || entry.Links.Count > 0)
                continue;
            _keys.Remove(id);
            foreach (var source in entry.Sources)
            {
                var links = _keys[source].Links;
                foreach (var link in links.Where(l => l.Value.Contains(id)).Select(l => l.Key).ToList())
                {
                    links[link].Remove(id);
                    if (links[link].Count == 0)
                        links.Remove(link);
                }
                pending.Push(source);
            }
        }
    }

    private sealed class Entry
    {
        public Dictionary<string, CacheResultInfo> Results { get; } = new(StringComparer.Ordinal);

        public Dictionary<CacheLink, HashSet<string>> Links { get; } = [];

        public HashSet<string> Sources { get; } = new(StringComparer.Ordinal);
    }
}
