namespace BuildKit.Registry.Auth;

/// <summary>Access scopes in their normal form (spec 07 §12.3).</summary>
public static class Scopes
{
    /// <summary>The scope of a repository.</summary>
    public static string Repository(string path, bool push) => $"repository:{path}:{(push ? "pull,push" : "pull")}";

    /// <summary>Merges scopes by name; names and actions sorted, actions joined by commas. A scope without actions keeps its form.</summary>
    public static IReadOnlyList<string> Normalize(IEnumerable<string> scopes)
    {
        var merged = new SortedDictionary<string, SortedSet<string>>(StringComparer.Ordinal);
        foreach (var scope in scopes.Where(scope => scope.Length > 0))
        {
            var colon = scope.LastIndexOf(':');
            var first = scope.IndexOf(':', StringComparison.Ordinal);
            var (name, actions) = colon > first ? (scope[..colon], scope[(colon + 1)..]) : (scope, "");
            if (!merged.TryGetValue(name, out var set))
                merged[name] = set = new SortedSet<string>(StringComparer.Ordinal);
            set.UnionWith(actions.Split(',', StringSplitOptions.RemoveEmptyEntries));
        }
        return [.. merged.Select(entry => entry.Value.Count == 0 ? entry.Key : $"{entry.Key}:{string.Join(',', entry.Value)}")];
    }

    /// <summary>Whether the scopes hold everything the others ask for.</summary>
    public static bool Contain(IReadOnlyList<string> scopes, IReadOnlyList<string> wanted) =>
        Normalize([.. scopes, .. wanted]).SequenceEqual(Normalize(scopes), StringComparer.Ordinal);
}
