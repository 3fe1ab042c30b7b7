using System.Text;

namespace BuildKit.Llb;

/// <summary>
/// Lexical operations on slash-separated paths, as LLB needs them: no file system is consulted, <c>.</c> and
/// <c>..</c> are resolved textually, and <c>..</c> never climbs above a leading slash (spec 02 §11.3, §11.6).
/// </summary>
public static class SlashPath
{
    /// <summary>Whether the path starts with a slash.</summary>
    public static bool IsAbsolute(string path) => path.StartsWith('/');

    /// <summary>The shortest equivalent path: no doubled slashes, no <c>.</c>, no avoidable <c>..</c>, no
    /// trailing slash except in <c>/</c>; the empty path becomes <c>.</c>.</summary>
    public static string Clean(string path)
    {
        if (path.Length == 0)
            return ".";
        var rooted = path[0] == '/';
        var kept = new List<string>();
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".")
                continue;
            if (part != "..")
                kept.Add(part);
            else if (kept.Count > 0 && kept[^1] != "..")
                kept.RemoveAt(kept.Count - 1);
            else if (!rooted)
                kept.Add(part);
        }

        var joined = string.Join('/', kept);
        if (rooted)
            return "/" + joined;
        return joined.Length == 0 ? "." : joined;
    }

    /// <summary>The non-empty parts joined by slashes and cleaned; empty when there is no non-empty part.</summary>
    public static string Join(params ReadOnlySpan<string> parts)
    {
        var text = new StringBuilder();
        foreach (var part in parts)
        {
            if (part.Length == 0)
                continue;
            if (text.Length > 0)
                text.Append('/');
            text.Append(part);
        }

        return text.Length == 0 ? "" : Clean(text.ToString());
    }

    /// <summary>The last component, trailing slashes ignored; <c>/</c> for a path of slashes, <c>.</c> for the
    /// empty path.</summary>
    public static string Base(string path)
    {
        if (path.Length == 0)
            return ".";
        var trimmed = path.AsSpan().TrimEnd('/');
        return trimmed.Length == 0 ? "/" : trimmed[(trimmed.LastIndexOf('/') + 1)..].ToString();
    }

    /// <summary>
    /// A path made absolute below <paramref name="directory"/> and cleaned. With <paramref name="keepSlash"/> a
    /// trailing <c>/</c> or <c>/.</c> survives, because a copy's destination means something else then.
    /// </summary>
    public static string Absolute(string directory, string path, bool keepSlash)
    {
        var clean = Clean(path);
        if (!IsAbsolute(clean))
            clean = Join("/", directory, clean);
        if (!keepSlash)
            return clean;
        if (path.EndsWith('/'))
            return clean.EndsWith('/') ? clean : clean + "/";
        if (path.EndsWith("/.", StringComparison.Ordinal))
            return clean == "/" ? "/." : clean + "/.";
        return clean;
    }
}
