using System.Text;

namespace BuildKit.Worker.Sources.Http;

/// <summary>Under which name a fetched file is kept (spec 06 §9.4).</summary>
internal static class HttpFileName
{
    private const string Fallback = "download";

    /// <summary>The name: as asked for, as the server suggests, as the URL ends.</summary>
    /// <param name="source">What was asked for.</param>
    /// <param name="disposition">The answer's Content-Disposition; null when there was no request.</param>
    public static string Choose(HttpAttributes source, string? disposition)
    {
        if (source.Filename.Length > 0)
            return source.Filename;
        if (!string.IsNullOrEmpty(disposition) && OfDisposition(disposition) is { } suggested && !suggested.EndsWith('/'))
        {
            var name = suggested[(suggested.LastIndexOf('/') + 1)..];
            if (IsName(name))
                return name;
        }
        return OfUrl(source.Url) ?? Fallback;
    }

    /// <summary>Whether a text names a file in a directory, and nothing outside of it.</summary>
    public static bool IsName(string text) => text is not ("" or "." or "..") && !text.AsSpan().ContainsAny('/', '\0');

    private static string? OfUrl(string url)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out var uri))
            return null;
        var path = Uri.UnescapeDataString(uri.AbsolutePath).TrimEnd('/');
        var name = path[(path.LastIndexOf('/') + 1)..];
        return IsName(name) ? name : null;
    }

    /// <summary>The file name of a header such as <c>attachment; filename="x.tar"</c>; null when it has none or is malformed.</summary>
    private static string? OfDisposition(string header)
    {
        var semicolon = header.IndexOf(';', StringComparison.Ordinal);
        if (!IsToken((semicolon < 0 ? header : header[..semicolon]).Trim()))
            return null;
        string? plain = null, extended = null;
        var rest = semicolon < 0 ? "" : header[semicolon..].Trim();
        while (rest.Length > 0)
        {
            rest = rest[1..].TrimStart(); // the semicolon
            if (rest.Length == 0)
                break; // one at the end is fine
            if (TakeParameter(ref rest) is not var (name, value))
                return null;
            if (name == "filename")
                plain = value;
            else if (name == "filename*")
                extended = Decoded(value);
            if (rest.Length > 0 && rest[0] != ';')
                return null;
        }
        return extended ?? plain;
    }

    private static (string Name, string Value)? TakeParameter(ref string rest)
    {
        var equals = rest.IndexOf('=', StringComparison.Ordinal);
        if (equals <= 0)
            return null;
        var name = rest[..equals].Trim().ToLowerInvariant();
        rest = rest[(equals + 1)..].TrimStart();
        if (!IsToken(name))
            return null;
        if (!rest.StartsWith('"'))
        {
            var end = rest.IndexOf(';', StringComparison.Ordinal);
            var token = (end < 0 ? rest : rest[..end]).Trim();
            rest = end < 0 ? "" : rest[end..];
            return IsToken(token) ? (name, token) : null;
        }
        var text = new StringBuilder();
        for (var i = 1; i < rest.Length; i++)
        {
            if (rest[i] == '"')
            {
                rest = rest[(i + 1)..].TrimStart();
                return (name, text.ToString());
            }
            // Only quotes and backslashes are escaped; a Windows path keeps its own.
            if (rest[i] == '\\' && i + 1 < rest.Length && rest[i + 1] is '"' or '\\')
                i++;
            text.Append(rest[i]);
        }
        return null;
    }

    /// <summary><c>charset'language'percent-encoded</c>.</summary>
    private static string? Decoded(string value)
    {
        var parts = value.Split('\'', 3);
        return parts.Length == 3 && parts[0].ToLowerInvariant() is "utf-8" or "us-ascii" ? Uri.UnescapeDataString(parts[2]) : null;
    }

    private static bool IsToken(string text) => text.Length > 0 && text.All(c => c is > ' ' and < (char)127 && !"()<>@,;:\\\"/[]?=".Contains(c, StringComparison.Ordinal));
}
