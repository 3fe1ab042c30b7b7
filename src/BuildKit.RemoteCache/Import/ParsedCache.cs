using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Import;

/// <summary>An imported graph as the key storage the solver asks (spec 04 §4.2). It never changes: links the solver learns
/// are not kept, results cannot be stored.</summary>
public sealed class ParsedCache : ICacheKeyStorage
{
    private readonly string _prefix = Guid.NewGuid().ToString("N");
    private readonly Dictionary<string, Item> _items = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Source, int Input, Digest Record, Digest Selector), List<string>> _links = [];
    private readonly Dictionary<string, List<string>> _keysOfResult = new(StringComparer.Ordinal);

    /// <summary>Indexes parsed records.</summary>
    public ParsedCache(IReadOnlyList<CacheNode> records)
    {
        var ids = new Dictionary<CacheNode, string>(ReferenceEqualityComparer.Instance);
        foreach (var record in records)
        {
            var id = record.Inputs.Count == 0 ? record.Digest.ToString() : $"{_prefix}-{ids.Count}";
            ids[record] = id;
            if (!_items.TryGetValue(id, out var item))
                _items[id] = item = new Item(record.Digest);
            foreach (var result in record.Results.OrderByDescending(r => r.CreatedAt))
            {
                var resultId = ResultId(result.Layers);
                if (item.Results.TryAdd(resultId, new ImportedResult(result.Layers, result.CreatedAt.ToDateTimeOffset())))
                    AddTo(_keysOfResult, resultId, id);
            }
        }
        foreach (var record in records)
        {
            for (var input = 0; input < record.Inputs.Count; input++)
            {
                foreach (var link in record.Inputs[input])
                {
                    AddTo(_links, (ids[link.Source], input, record.Digest, link.Selector), ids[record]);
                    _items[ids[record]].Sources.Add((ids[link.Source], input, link.Selector));
                }
            }
        }
    }

    /// <summary>The result behind an id, or null.</summary>
    internal ImportedResult? FindResult(string resultId) =>
        _keysOfResult.TryGetValue(resultId, out var keys) ? _items[keys[0]].Results[resultId] : null;

    /// <summary>Results of the keys that store a result, and of everything below them, by key id; each with a chain that is a
    /// prefix of the result's.</summary>
    internal IReadOnlyDictionary<string, ImportedResult> FindPrefixes(string resultId)
    {
        var found = new Dictionary<string, ImportedResult>(StringComparer.Ordinal);
        if (FindResult(resultId) is not { } top)
            return found;
        var visited = new HashSet<string>(StringComparer.Ordinal);
        var pending = new Stack<string>(_keysOfResult[resultId]);
        while (pending.TryPop(out var id))
        {
            if (!visited.Add(id))
                continue;
            if (_items[id].Results.Values.Where(r => IsPrefix(r.Layers, top.Layers)).MaxBy(r => r.Layers.Descriptors.Count) is { } result)
                found[id] = result;
            foreach (var (source, _, _) in _items[id].Sources)
                pending.Push(source);
        }
        return found;
    }

    /// <inheritdoc/>
    public bool Exists(string id) => _items.ContainsKey(id);

    /// <inheritdoc/>
    public IReadOnlyList<CacheResultInfo> GetResults(string id) =>
        _items.TryGetValue(id, out var item) ? [.. item.Results.Select(r => new CacheResultInfo(r.Key, r.Value.CreatedAt))] : [];

    /// <inheritdoc/>
    public CacheResultInfo? GetResult(string id, string resultId) =>
        _items.TryGetValue(id, out var item) && item.Results.TryGetValue(resultId, out var result) ? new CacheResultInfo(resultId, result.CreatedAt) : null;

    /// <inheritdoc/>
    public void AddResult(string id, CacheResultInfo result) => throw new InvalidOperationException("importer is immutable");

    /// <inheritdoc/>
    public void Release(string resultId)
    {
        // Documented: an import never changes.
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetKeysOfResult(string resultId) => _keysOfResult.TryGetValue(resultId, out var keys) ? keys : [];

    /// <inheritdoc/>
    public IReadOnlyList<string> GetResultIds() => [.. _keysOfResult.Keys];

    /// <inheritdoc/>
    public void AddLink(string id, CacheLink link, string target)
    {
        // Documented: an import never changes.
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> GetLinks(string id, CacheLink link) =>
        _links.TryGetValue((id, link.Input, CacheKey.RecordDigest(link.Digest, link.Output), link.Selector), out var targets) ? targets : [];

    /// <inheritdoc/>
    public bool HasLink(string id, CacheLink link, string target) => GetLinks(id, link).Contains(target, StringComparer.Ordinal);

    /// <inheritdoc/>
    public IReadOnlyList<CacheBacklink> GetBacklinks(string id) =>
        _items.TryGetValue(id, out var item)
            ? [.. item.Sources.Select(s => new CacheBacklink(s.Id, new CacheLink(s.Input, 0, item.Record, s.Selector)))]
            : [];

    /// <summary>The id of a result: a hash over its layers, other for each import: where one cannot give them, another one may.</summary>
    private string ResultId(RemoteLayers layers) => Digest.Sha256(_prefix + string.Concat(layers.Descriptors.Select(d => d.Digest.ToString()))).ToString();

    private static bool IsPrefix(RemoteLayers part, RemoteLayers whole) =>
        part.Descriptors.Count <= whole.Descriptors.Count
        && part.Descriptors.Select(d => d.Digest).SequenceEqual(whole.Descriptors.Take(part.Descriptors.Count).Select(d => d.Digest));

    private static void AddTo<TKey>(Dictionary<TKey, List<string>> lists, TKey key, string id)
        where TKey : notnull
    {
        if (!lists.TryGetValue(key, out var list))
            lists[key] = list = [];
        if (!list.Contains(id, StringComparer.Ordinal))
            list.Add(id);
    }

    private sealed class Item(Digest record)
    {
        public Digest Record { get; } = record;

        public Dictionary<string, ImportedResult> Results { get; } = new(StringComparer.Ordinal);

        public HashSet<(string Id, int Input, Digest Selector)> Sources { get; } = [];
    }
}

/// <summary>A result of an import: its layers and when it was made.</summary>
internal sealed record ImportedResult(RemoteLayers Layers, DateTimeOffset CreatedAt);
