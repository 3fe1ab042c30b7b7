using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace BuildKit.Llb;

/// <summary>
/// Address of a git repository: a URL with one of git's transports, or the <c>user@host:path</c> form of scp. The
/// fragment (<c>#ref:subdirectory</c>) is not part of the address proper (spec 02 §4.4).
/// </summary>
/// <param name="Scheme"><c>http</c>, <c>https</c>, <c>ssh</c> or <c>git</c>.</param>
/// <param name="User">User, with password if given, as written; empty when there is none.</param>
/// <param name="Host">Host, with port if given.</param>
/// <param name="Path">Path on the host, percent-decoded.</param>
/// <param name="Remote">The address as given, without fragment.</param>
/// <param name="Fragment">What follows <c>#</c>, percent-decoded for URLs; empty when there is none.</param>
public sealed partial record GitUrl(string Scheme, string User, string Host, string Path, string Remote, string Fragment)
{
    /// <summary>Reference named by the fragment; empty when there is none.</summary>
    public string Ref => Fragment.Split(':', 2)[0];

    /// <summary>Subdirectory named by the fragment, as written; empty when there is none.</summary>
    public string Subdirectory => Fragment.Split(':', 2) is [_, var subdirectory] ? subdirectory : "";

    /// <summary>Whether the address names a transport of git, or has the form of scp.</summary>
    public static bool IsGitTransport(string remote) =>
        Protocol().Match(remote) is { Success: true } match
            ? IsSupported(match.Groups[1].Value.ToLowerInvariant())
            : Scp().IsMatch(remote);

    /// <summary>Parses an address.</summary>
    /// <param name="remote">The address.</param>
    /// <param name="url">Its parts.</param>
    /// <param name="unknownProtocol">Whether it fails for want of a protocol, so that one may be put in front.</param>
    public static bool TryParse(string remote, [NotNullWhen(true)] out GitUrl? url, out bool unknownProtocol)
    {
        url = null;
        unknownProtocol = false;
        if (Protocol().Match(remote) is { Success: true } match)
        {
            var scheme = match.Groups[1].Value.ToLowerInvariant();
            url = IsSupported(scheme) ? FromUrl(scheme, remote[match.Length..]) : null;
            return url is not null;
        }

        if (Scp().Match(remote) is not { Success: true } scp)
        {
            unknownProtocol = true;
            return false;
        }

        var (user, host, path) = (scp.Groups[1].Value, scp.Groups[2].Value, scp.Groups[3].Value);
        url = new GitUrl("ssh", user, host, path, $"{user}@{host}:{path}", scp.Groups[4].Value);
        return true;
    }

    private static GitUrl? FromUrl(string scheme, string rest)
    {
        var hash = rest.IndexOf('#', StringComparison.Ordinal);
        var fragment = hash < 0 ? "" : rest[(hash + 1)..];
        if (hash >= 0)
            rest = rest[..hash];
        var end = rest.AsSpan().IndexOfAny('/', '?');
        var authority = end < 0 ? rest : rest[..end];
        var path = end < 0 ? "" : rest[end..];
        if (path.IndexOf('?', StringComparison.Ordinal) is >= 0 and var query)
            path = path[..query];
        var at = authority.LastIndexOf('@');
        var host = authority[(at + 1)..];
        if (host.AsSpan().ContainsAny(" \"<>\\^`{|}") || rest.AsSpan().ContainsAnyInRange('\0', '\x1f'))
            return null;
        return new GitUrl(scheme, at < 0 ? "" : authority[..at], host, Uri.UnescapeDataString(path),
            scheme + "://" + rest, Uri.UnescapeDataString(fragment));
    }

    private static bool IsSupported(string scheme) => scheme is "http" or "https" or "ssh" or "git";

    [GeneratedRegex(@"\A([a-zA-Z0-9]+)://", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Protocol();

    [GeneratedRegex(@"\A([a-zA-Z0-9-_]+)@([a-zA-Z0-9-.]+):(.*?)(?:#(.*))?\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Scp();
}
