namespace BuildKit.Client;

/// <summary>Where a daemon is (spec 08 §5.1).</summary>
/// <param name="Text">The address as it was given.</param>
/// <param name="Scheme">What stands before <c>://</c>; empty without one.</param>
/// <param name="Rest">What stands behind it.</param>
public readonly record struct DaemonAddress(string Text, string Scheme, string Rest)
{
    /// <summary>Where a system's daemon listens.</summary>
    public const string Default = "unix:///run/buildkit/buildkitd.sock";

    /// <summary>Cuts an address at <c>://</c>.</summary>
    public static DaemonAddress Parse(string text)
    {
        var end = text.IndexOf("://", StringComparison.Ordinal);
        return end < 0 ? new(text, "", text) : new(text, text[..end], text[(end + 3)..]);
    }

    /// <summary>Host and port of the address as a client names it to the server; empty for a socket.</summary>
    public string Host
    {
        get
        {
            if (Scheme is "unix" or "")
                return "";
            var end = Rest.AsSpan().IndexOfAny('/', '?', '#');
            var host = end < 0 ? Rest : Rest[..end];
            return host[(host.LastIndexOf('@') + 1)..];
        }
    }

    /// <summary>Host without port.</summary>
    public string HostName
    {
        get
        {
            var host = Host;
            if (host.StartsWith('['))
                return host[1..Math.Max(1, host.IndexOf(']', StringComparison.Ordinal))];
            var colon = host.LastIndexOf(':');
            return colon < 0 ? host : host[..colon];
        }
    }
}
