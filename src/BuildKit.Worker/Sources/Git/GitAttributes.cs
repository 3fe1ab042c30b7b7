using BuildKit.Llb;
using BuildKit.Protocol.Pb;

namespace BuildKit.Worker.Sources.Git;

/// <summary>What a git source asks for (spec 02 §4.4, 06 §9.3).</summary>
internal sealed record GitAttributes
{
    private const string Scheme = "git://";

    /// <summary>Address of the repository.</summary>
    public required GitUrl Remote { get; init; }

    /// <summary>Branch, tag, full reference or commit; empty for the default branch.</summary>
    public string Ref { get; init; } = "";

    /// <summary>Directory whose content is wanted, as written; empty for all.</summary>
    public string Subdirectory { get; init; } = "";

    /// <summary>Whether the result has a <c>.git</c>.</summary>
    public bool KeepGitDir { get; init; }

    /// <summary>First digits of the commit (or of the tag) that the reference must have; empty for any.</summary>
    public string Checksum { get; init; } = "";

    /// <summary>Id of a secret with a token; empty for none.</summary>
    public string AuthTokenSecret { get; init; } = "";

    /// <summary>Id of a secret with a whole Authorization header; empty for none.</summary>
    public string AuthHeaderSecret { get; init; } = "";

    /// <summary>Text of a known_hosts file; empty to trust any host.</summary>
    public string KnownSshHosts { get; init; } = "";

    /// <summary>Which of the client's agents is used; empty for none.</summary>
    public string SshAgentId { get; init; } = "";

    /// <summary>The address as git gets it.</summary>
    public string Url => Remote.Remote;

    /// <summary>The address as people get it.</summary>
    public string ShownUrl => RedactedUrl.Of(Remote.Remote);

    /// <summary>Reads a source operation.</summary>
    /// <exception cref="InvalidOperationException">The address is none that git may be given.</exception>
    public static GitAttributes Parse(SourceOp operation)
    {
        var remote = ParseUrl(operation.Identifier[Scheme.Length..]);
        var result = new GitAttributes
        {
            Remote = remote,
            Ref = remote.Ref,
            Subdirectory = SlashPath.Clean(remote.Subdirectory) is "/" or "." ? "" : remote.Subdirectory,
        };
        foreach (var (key, value) in operation.Attrs)
            result = result.With(key, value);
        result.Check();
        return result;
    }

    /// <summary>Whether a text is a whole commit id.</summary>
    public static bool IsCommit(string text) => text.Length == 40 && !text.AsSpan().ContainsAnyExcept("0123456789abcdef");

    private GitAttributes With(string key, string value) => key switch
    {
        "git.keepgitdir" => value == "true" ? this with { KeepGitDir = true } : this,
        "git.fullurl" => this with { Remote = ParseUrl(value) },
        "git.authtokensecret" => this with { AuthTokenSecret = value },
        "git.authheadersecret" => this with { AuthHeaderSecret = value },
        "git.knownsshhosts" => this with { KnownSshHosts = value },
        "git.mountsshsock" => this with { SshAgentId = value },
        "git.checksum" => this with { Checksum = value },
        _ => this,
    };

    /// <summary>Only addresses with one of git's own network transports get through: no files of the daemon's machine,
    /// no remote helpers.</summary>
    private static GitUrl ParseUrl(string text)
    {
        if (!GitUrl.IsGitTransport(text))
            text = "https://" + text;
        return GitUrl.TryParse(text, out var url, out _) ? url : throw new InvalidOperationException($"invalid git remote {RedactedUrl.Of(text)}");
    }

    private void Check()
    {
        // Neither may ever look like an option or like more than one line to git.
        if (Url.AsSpan().ContainsAny("\0\r\n") || Ref.AsSpan().ContainsAny("\0\r\n") || Subdirectory.Contains('\0'))
            throw new InvalidOperationException($"invalid git source {ShownUrl}: control characters in its address");
        if (Remote.Host.StartsWith('-') || Remote.User.StartsWith('-'))
            throw new InvalidOperationException($"invalid git remote {ShownUrl}: strange host name");
        if (Checksum.Length > 0 && (Checksum.Length is < 7 or > 40 || Checksum.AsSpan().ContainsAnyExcept("0123456789abcdef")))
            throw new InvalidOperationException($"invalid checksum {Checksum} for {ShownUrl}, expected hex commit hash");
    }
}
