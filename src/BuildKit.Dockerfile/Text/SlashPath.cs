namespace BuildKit.Dockerfile.Text;

/// <summary>Slash-separated paths, worked on as text.</summary>
internal static class SlashPath
{
    /// <summary>The shortest equal path; <c>.</c> for the empty one.</summary>
    public static string Clean(string path)
    {
        var rooted = path.StartsWith('/');
        var parts = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".")
                continue;
            if (part is not "..")
                parts.Add(part);
            else if (parts.Count > 0 && parts[^1] is not "..")
                parts.RemoveAt(parts.Count - 1);
            else if (!rooted)
                parts.Add(part);
        }
        var joined = string.Join('/', parts);
        return rooted ? "/" + joined : joined.Length == 0 ? "." : joined;
    }

    /// <summary>Joins the non-empty parts and cleans the result; empty when all parts are.</summary>
    public static string Join(params ReadOnlySpan<string> parts)
    {
        var joined = "";
        foreach (var part in parts)
        {
            if (part.Length > 0)
                joined = joined.Length == 0 ? part : joined + "/" + part;
        }
        return joined.Length == 0 ? "" : Clean(joined);
    }

    /// <summary>Last element; <c>.</c> for the empty path, <c>/</c> for slashes only.</summary>
    public static string Base(string path)
    {
        if (path.Length == 0)
            return ".";
        var trimmed = path.TrimEnd('/');
        return trimmed.Length == 0 ? "/" : trimmed[(trimmed.LastIndexOf('/') + 1)..];
    }

    /// <summary>All but the last element, cleaned.</summary>
    public static string Directory(string path) => Clean(path[..(path.LastIndexOf('/') + 1)]);
}
