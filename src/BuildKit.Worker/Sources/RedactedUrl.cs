namespace BuildKit.Worker.Sources;

/// <summary>Addresses as messages, descriptions and images may show them.</summary>
public static class RedactedUrl
{
    private const string Mask = "xxxxx";

    /// <summary>The address with user and password replaced; one without a scheme stays as it is.</summary>
    public static string Of(string url)
    {
        var scheme = url.IndexOf("://", StringComparison.Ordinal);
        if (scheme < 0)
            return url;
        var start = scheme + 3;
        var end = url.AsSpan(start).IndexOfAny('/', '?', '#') is >= 0 and var length ? start + length : url.Length;
        var at = url.LastIndexOf('@', end - 1, end - start);
        if (at < 0)
            return url;
        var user = url.AsSpan(start, at - start);
        var colon = user.IndexOf(':');
        var shown = colon < 0 ? Masked(user) : Masked(user[..colon]) + ":" + Mask;
        return string.Concat(url.AsSpan(0, start), shown, url.AsSpan(at));

        static string Masked(ReadOnlySpan<char> text) => text.IsEmpty ? "" : Mask;
    }
}
