namespace BuildKit.Solver;

/// <summary>Finds live edges by cache key, so that equal ones can be merged (spec 03 §6). Part of the scheduler's loop.</summary>
internal sealed class EdgeIndex
{
    private readonly Dictionary<string, Item> _items = new(StringComparer.Ordinal);
    private readonly Dictionary<EdgeNode, HashSet<string>> _idsOfEdge = [];

    /// <summary>Another live edge with an equal key; when there is none, <paramref name="edge"/> is remembered.</summary>
    public EdgeNode? LoadOrStore(CacheKey key, EdgeNode edge)
    {
        var matches = Match(key);
        foreach (var id in matches)
        {
            if (!_items.TryGetValue(id, out var item) || item.Edge is not { } other || other == edge)
                continue;
            // A step that must not use the cache must not get its result from one that may.
            if ((!other.IgnoreCache && edge.IgnoreCache) || other.IsSpoiled)
                continue;
            Link(id, key);
            return other;
        }
        var own = matches.Count > 0 ? matches[0] : RandomId.New();
        var stored = Link(own, key);
        if (stored.Edge is null || stored.Edge == edge)
        {
            stored.Edge = edge;
        }
        else
        {
            // The key is taken by an edge this one must not join: keep both.
            own = RandomId.New();
            Link(own, key).Edge = edge;
        }
        if (!_idsOfEdge.TryGetValue(edge, out var ids))
            _idsOfEdge[edge] = ids = new HashSet<string>(StringComparer.Ordinal);
        ids.Add(own);
        return null;
    }

    /// <summary>Forgets an edge.</summary>
    public void Remove(EdgeNode edge)
    {
        if (!_idsOfEdge.Remove(edge, out var ids))
            return;
        foreach (var id in ids)
        {
            if (!_items.TryGetValue(id, out var item))
                continue;
            item.Edge = null;
            RemoveIfUnused(id);
        }
    }

    private IReadOnlyList<string> Match(CacheKey key)
    {
        if (key.Dependencies.Count == 0)
            return [CacheKey.RecordDigest(key.Digest, key.Output).ToString()];
        HashSet<string>? matches = null;
        for (var input = 0; input < key.Dependencies.Count; input++)
        {
            var reachable = new HashSet<string>(StringComparer.Ordinal);
            foreach (var dependency in key.Dependencies[input])
            {
                var link = new CacheLink(input, key.Output, key.Digest, dependency.Selector);
                foreach (var id in IdsOf(dependency.Key))
                {
                    if (_items.TryGetValue(id, out var item) && item.Links.TryGetValue(link, out var targets))
                        reachable.UnionWith(targets);
                }
            }
            if (matches is null)
                matches = reachable;
            else
                matches.IntersectWith(reachable);
            if (matches.Count == 0)
                return [];
        }
        return [.. matches!.Order(StringComparer.Ordinal)];
    }

    private IReadOnlyList<string> IdsOf(CacheKey key)
    {
        if (key.IndexIds.Count > 0)
            return key.IndexIds;
        var matches = Match(key);
        key.IndexIds = matches.Count > 0 ? matches : [RandomId.New()];
        foreach (var id in key.IndexIds)
            Link(id, key);
        return key.IndexIds;
    }

    private Item Link(string id, CacheKey key)
    {
        if (!_items.TryGetValue(id, out var item))
            _items[id] = item = new Item();
        for (var input = 0; input < key.Dependencies.Count; input++)
        {
            foreach (var dependency in key.Dependencies[input])
            {
                var link = new CacheLink(input, key.Output, key.Digest, dependency.Selector);
                foreach (var sourceId in IdsOf(dependency.Key))
                {
                    if (!_items.TryGetValue(sourceId, out var source))
                        _items[sourceId] = source = new Item();
                    if (!source.Links.TryGetValue(link, out var targets))
                        source.Links[link] = targets = new HashSet<string>(StringComparer.Ordinal);
                    targets.Add(id);
                    item.Sources.Add(sourceId);
                }
            }
        }
        return item;
    }

    private void RemoveIfUnused(string start)
    {
        var pending = new Stack<string>([start]);
        while (pending.TryPop(out var id))
        {
            if (!_items.TryGetValue(id, out var item) || item.Edge is not null || item.Links.Count > 0)
                continue;
            _items.Remove(id);
            foreach (var sourceId in item.Sources)
            {
                if (!_items.TryGetValue(sourceId, out var source))
                    continue;
                foreach (var link in source.Links.Where(l => l.Value.Contains(id)).Select(l => l.Key).ToList())
                {
                    source.Links[link].Remove(id);
                    if (source.Links[link].Count == 0)
                        source.Links.Remove(link);
                }
                pending.Push(sourceId);
            }
        }
    }

    /// <summary>Items left; none when every edge is gone.</summary>
    public int Count => _items.Count;

    private sealed class Item
    {
        public EdgeNode? Edge { get; set; }

        public Dictionary<CacheLink, HashSet<string>> Links { get; } = [];

        public HashSet<string> Sources { get; } = new(StringComparer.Ordinal);
    }
}
