using BuildKit.Oci;

namespace BuildKit.RemoteCache.Backends;

/// <summary>Which cache mounts travel with a cache: attribute <c>cache-mounts</c>, <c>true</c> for all or ids separated by <c>;</c>.</summary>
public sealed class CacheMountSelection
{
    private readonly IReadOnlyList<string>? _ids;

    private CacheMountSelection(IReadOnlyList<string>? ids) => _ids = ids;

    /// <summary>Reads the attribute; null when no mounts travel.</summary>
    public static CacheMountSelection? Read(IReadOnlyDictionary<string, string> attributes)
    {
        if (!attributes.TryGetValue("cache-mounts", out var text) || text.Length == 0)
            return null;
        return GoSyntax.ParseBool(text) switch
        {
            true => new CacheMountSelection(null),
            false => null,
            null => new CacheMountSelection([.. text.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(id => id.Trim('/'))]),
        };
    }

    /// <summary>Whether a mount is selected: by its whole id, or by what follows the namespace a frontend put in front of it.</summary>
    public bool Includes(string id) => _ids is null || _ids.Any(wanted => id.Trim('/') == wanted || id.EndsWith("/" + wanted, StringComparison.Ordinal));
}
