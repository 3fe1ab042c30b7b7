using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace BuildKit.Solver;

public sealed partial class CacheKey
{
    private readonly ConcurrentDictionary<LocalCacheManager, string> _ids = new();
    private string? _id;

    /// <summary>The id candidates are compared by: of the manager that found the key, or of a key without inputs.</summary>
    internal string Id => _id ??= Dependencies.Count == 0
        ? RecordDigest(Digest, Output).ToString()
        : RandomId.New();

    /// <summary>Ids found so far in the edge index; only touched by the scheduler's loop.</summary>
    internal IReadOnlyList<string> IndexIds { get; set; } = [];

    /// <summary>The managers that know this key, and how they call it.</summary>
    internal IEnumerable<KeyValuePair<LocalCacheManager, string>> Ids => _ids;

    /// <summary>A key a manager found in its storage.</summary>
    internal static CacheKey Found(BuildKit.Oci.Digest digest, int output, LocalCacheManager manager, string id)
    {
        var key = Root(digest, output);
        key._id = id;
        key._ids[manager] = id;
        return key;
    }

    internal bool TryGetId(LocalCacheManager manager, [NotNullWhen(true)] out string? id) => _ids.TryGetValue(manager, out id);

    internal string RememberId(LocalCacheManager manager, string id) => _ids.GetOrAdd(manager, id);

    /// <summary>The same key, now with its inputs' keys.</summary>
    internal CacheKey WithDependencies(IReadOnlyList<IReadOnlyList<CacheKeyWithSelector>> dependencies)
    {
        var key = new CacheKey(Digest, Output, dependencies) { _id = Id };
        foreach (var (manager, id) in _ids)
            key._ids[manager] = id;
        return key;
    }
}
