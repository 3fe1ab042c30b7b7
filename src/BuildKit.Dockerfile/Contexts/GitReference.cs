using BuildKit.Llb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>A text that names a git repository (spec 05 §8.3).</summary>
/// <param name="Remote">Address without fragment.</param>
/// <param name="Commit">Branch, tag or commit; may be empty.</param>
/// <param name="Subdirectory">Directory inside; may be empty.</param>
/// <param name="LooksLocal">Whether it could as well be a path: <c>github.com/…</c>.</param>
public sealed record GitReference(string Remote, string Commit, string Subdirectory, bool LooksLocal)
{
    private const string GitHub = "github.com/";

    /// <summary>Last part of the address without <c>.git</c>.</summary>
    public string ShortName
    {
        get
        {
            var last = Remote[(Remote.LastIndexOf('/') + 1)..];
            return last.EndsWith(".git", StringComparison.Ordinal) ? last[..^4] : last;
        }
    }

    /// <summary>Commit and subdirectory as sources carry them.</summary>
    public string Fragment => Subdirectory.Length > 0 ? Commit + ":" + Subdirectory : Commit;

    /// <summary>Parses a text; null when it names no repository, with the reason.</summary>
    public static GitReference? Parse(string text, out string reason)
    {
        reason = "invalid argument";
        if (text.StartsWith("./", StringComparison.Ordinal) || text.StartsWith("../", StringComparison.Ordinal))
            return null;
        if (text.StartsWith(GitHub, StringComparison.Ordinal))
            return new GitReference(GitHub + UrlPath.Escape(text[GitHub.Length..]), "", "", true);
        if (!GitUrl.TryParse(text, out var url, out var unknownProtocol))
        {
            reason = unknownProtocol ? "unknown protocol"
                : GitUrl.IsGitTransport(text) ? "invalid address"
                : text.Split("://")[0].ToLowerInvariant() + ": invalid protocol";
            return null;
        }
        if (url.Scheme is "http" or "https" && !url.Path.EndsWith(".git", StringComparison.Ordinal))
            return null;
        return new GitReference(Escaped(url), url.Ref, url.Subdirectory, false);
    }

    /// <summary>Parses a text; null when it names no repository.</summary>
    public static GitReference? Parse(string text) => Parse(text, out _);

    /// <summary>The address with the characters escaped that may not stand in its path.</summary>
    private static string Escaped(GitUrl url)
    {
        var start = url.Remote.IndexOf("://", StringComparison.Ordinal);
        var path = start < 0 ? -1 : url.Remote.IndexOf('/', start + 3);
        if (path < 0)
            return url.Remote;
        var query = url.Remote.IndexOf('?', path);
        var end = query < 0 ? url.Remote.Length : query;
        return UrlPath.IsValid(url.Remote[path..end])
            ? url.Remote
            : url.Remote[..path] + UrlPath.Escape(url.Path) + url.Remote[end..];
    }

    /// <summary>Whether a text is an address to fetch a file from.</summary>
    public static bool IsHttpSource(string text) =>
        (text.StartsWith("http://", StringComparison.Ordinal) || text.StartsWith("https://", StringComparison.Ordinal)) && Parse(text) is null;
}

/// <summary>Paths inside addresses.</summary>
internal static class UrlPath
{
    private const string Kept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@";
    private const string Tolerated = "!'()*[]%";

    /// <summary>Whether a path can stay as it is written.</summary>
    public static bool IsValid(string path) => !path.AsSpan().ContainsAnyExcept(Kept + Tolerated);

    /// <summary>Escapes what may not stand in a path.</summary>
    public static string Escape(string path)
    {
        var escaped = new System.Text.StringBuilder();
        foreach (var b in System.Text.Encoding.UTF8.GetBytes(path))
        {
            if (Kept.Contains((char)b, StringComparison.Ordinal))
                escaped.Append((char)b);
            else
                escaped.Append('%').Append(b.ToString("X2", System.Globalization.CultureInfo.InvariantCulture));
        }
        return escaped.ToString();
    }

    /// <summary>Last element of an address's path, decoded; null when there is none or the address is malformed.</summary>
    public static string? LastElement(string url)
    {
        var rest = url[(url.IndexOf("://", StringComparison.Ordinal) + 3)..];
        rest = rest.Split('#', 2)[0].Split('?', 2)[0];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0 || rest.AsSpan(0, slash).ContainsAny(" \"<>\\^`{|}") || url.AsSpan().ContainsAnyInRange('\0', '\x1f'))
            return null;
        var path = rest[slash..];
        for (var i = path.IndexOf('%', StringComparison.Ordinal); i >= 0; i = path.IndexOf('%', i + 1))
        {
            if (i + 2 >= path.Length || !char.IsAsciiHexDigit(path[i + 1]) || !char.IsAsciiHexDigit(path[i + 2]))
                return null;
        }
        var last = SlashPath.Base(Uri.UnescapeDataString(path));
        return last is "." or "/" ? null : last;
    }
}
