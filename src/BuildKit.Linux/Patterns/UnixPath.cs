using System.Text;

namespace BuildKit.Linux.Patterns;

/// <summary>Lexical work on '/'-separated paths, with the rules of the reference's path package; touches no disk.</summary>
public static class UnixPath
{
    /// <summary>The shortest equal path: no empty and no <c>.</c> elements, inner <c>..</c> resolved, <c>""</c> becomes <c>.</c>.</summary>
    public static string Clean(string path)
    {
        if (path.Length == 0)
            return ".";
        var rooted = path[0] == '/';
        var kept = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part.Length == 0 || part == ".")
                continue;
            if (part != "..")
                kept.Add(part);
            else if (kept.Count > 0 && kept[^1] != "..")
                kept.RemoveAt(kept.Count - 1);
            else if (!rooted)
                kept.Add(part);
        }
        if (kept.Count == 0)
            return rooted ? "/" : ".";
        var cleaned = new StringBuilder(path.Length);
        if (rooted)
            cleaned.Append('/');
        return cleaned.AppendJoin('/', kept).ToString();
    }

    /// <summary>Whether <see cref="Clean"/> would return the path itself; does not allocate.</summary>
    public static bool IsClean(ReadOnlySpan<char> path)
    {
        if (path.IsEmpty)
            return false;
        if (path is "." or "/")
            return true;
        var rooted = path[0] == '/';
        var rest = rooted ? path[1..] : path;
        var onlyParents = true;
        while (true)
        {
            var end = rest.IndexOf('/');
            var part = end < 0 ? rest : rest[..end];
            if (part.IsEmpty || part is ".")
                return false;
            if (part is "..")
            {
                if (rooted || !onlyParents)
                    return false;
            }
            else
            {
                onlyParents = false;
            }
            if (end < 0)
                return true;
            rest = rest[(end + 1)..];
        }
    }

    /// <summary>Joins the non-empty elements and cleans the result; nothing but empty ones gives <c>""</c>.</summary>
    public static string Join(params ReadOnlySpan<string> parts)
    {
        var joined = new StringBuilder();
        foreach (var part in parts)
        {
            if (part.Length == 0)
                continue;
            if (joined.Length > 0)
                joined.Append('/');
            joined.Append(part);
        }
        return joined.Length == 0 ? "" : Clean(joined.ToString());
    }

    /// <summary>All but the last element, cleaned; <c>.</c> when there is none.</summary>
    public static string Directory(string path)
    {
        var slash = path.LastIndexOf('/');
        return Clean(path[..(slash + 1)]);
    }

    /// <summary>The last element; <c>.</c> for an empty path, <c>/</c> for one of separators only.</summary>
    public static string Base(string path)
    {
        if (path.Length == 0)
            return ".";
        var trimmed = path.TrimEnd('/');
        return trimmed.Length == 0 ? "/" : trimmed[(trimmed.LastIndexOf('/') + 1)..];
    }
}
