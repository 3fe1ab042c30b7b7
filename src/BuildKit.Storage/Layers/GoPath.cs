using System.Globalization;
using System.Text;

namespace BuildKit.Storage.Layers;

/// <summary>Path and text forms of the reference's language that show in results.</summary>
public static class GoPath
{
    /// <summary>Shortest equal path: no doubled slashes, no <c>.</c>, <c>..</c> only in front; empty becomes <c>.</c>.</summary>
    public static string Clean(string path)
    {
        var rooted = path.StartsWith('/');
        var kept = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".")
                continue;
            if (part != "..")
                kept.Add(part);
            else if (kept.Count > 0 && kept[^1] != "..")
                kept.RemoveAt(kept.Count - 1);
            else if (!rooted)
                kept.Add(part);
        }
        var clean = string.Join('/', kept);
        return rooted ? "/" + clean : clean.Length == 0 ? "." : clean;
    }

    /// <summary>The last element; <c>/</c> for the root, <c>.</c> for nothing.</summary>
    public static string Base(string path)
    {
        var trimmed = path.TrimEnd('/');
        if (trimmed.Length == 0)
            return path.Length == 0 ? "." : "/";
        return trimmed[(trimmed.LastIndexOf('/') + 1)..];
    }

    /// <summary>All but the last element, cleaned.</summary>
    public static string Dir(string path) => Clean(path[..(path.LastIndexOf('/') + 1)]);

    /// <summary>A text in double quotes with escapes, as <c>%q</c> prints it.</summary>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var c in text)
        {
            _ = c switch
            {
                '"' => quoted.Append("\\\""),
                '\\' => quoted.Append("\\\\"),
                '\n' => quoted.Append("\\n"),
                '\t' => quoted.Append("\\t"),
                '\r' => quoted.Append("\\r"),
                '\a' => quoted.Append("\\a"),
                '\b' => quoted.Append("\\b"),
                '\f' => quoted.Append("\\f"),
                '\v' => quoted.Append("\\v"),
                >= '\uDC80' and <= '\uDCFF' => quoted.Append(CultureInfo.InvariantCulture, $"\\x{c - 0xDC00:x2}"),
                < ' ' or '\u007F' => quoted.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}"),
                _ => quoted.Append(c),
            };
        }
        return quoted.Append('"').ToString();
    }
}
