using BuildKit.Oci;

namespace BuildKit.Llb;

/// <summary>Where an image may come from.</summary>
public enum ImageResolveMode
{
    /// <summary>The registry, else the worker's own images.</summary>
    Default,

    /// <summary>Only the registry.</summary>
    Pull,

    /// <summary>The worker's own images, else the registry.</summary>
    PreferLocal,
}

/// <summary>How an image is fetched.</summary>
public sealed record ImageOptions
{
    /// <summary>Where the image may come from.</summary>
    public ImageResolveMode ResolveMode { get; init; }

    /// <summary>Usage-record type of what is created: empty, <c>internal</c> or <c>frontend</c>.</summary>
    public string RecordType { get; init; } = "";

    /// <summary>Use only so many of the image's layers.</summary>
    public int? LayerLimit { get; init; }

    /// <summary>Fetches the image's configuration while marshalling, so that environment, directory and platform
    /// of the image hold for the state.</summary>
    public IImageConfigResolver? Resolver { get; init; }

    /// <summary>Put the digest found by <see cref="Resolver"/> into the image's name.</summary>
    public bool ResolveDigest { get; init; }

    /// <summary>Platform, names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>Finds image configurations. Calls may run at the same time.</summary>
public interface IImageConfigResolver
{
    /// <summary>The configuration of an image for a platform.</summary>
    Task<ResolvedImageConfig> ResolveImageConfigAsync(ImageConfigRequest request, CancellationToken cancellationToken);
}

/// <summary>Which image's configuration is wanted.</summary>
public sealed record ImageConfigRequest(ImageReference Reference, Platform Platform, ImageResolveMode ResolveMode);

/// <summary>An image's configuration.</summary>
/// <param name="Reference">The name that was used in the end (a policy may change it).</param>
/// <param name="Digest">Digest the name stands for; may be empty.</param>
/// <param name="Config">The configuration, JSON.</param>
public sealed record ResolvedImageConfig(ImageReference Reference, Digest Digest, ReadOnlyMemory<byte> Config);

/// <summary>What is taken from a directory of the client.</summary>
public sealed record LocalOptions
{
    /// <summary>Transfer only looks at metadata to find what changed.</summary>
    public const string DifferMetadata = "metadata";

    /// <summary>Everything is transferred again.</summary>
    public const string DifferNone = "none";

    /// <summary>Session that has the directory; any of the build when empty.</summary>
    public string SessionId { get; init; } = "";

    /// <summary>Take only what matches.</summary>
    public IReadOnlyList<string> IncludePatterns { get; init; } = [];

    /// <summary>Take nothing that matches.</summary>
    public IReadOnlyList<string> ExcludePatterns { get; init; } = [];

    /// <summary>Take only these paths and what their symbolic links lead to.</summary>
    public IReadOnlyList<string> FollowPaths { get; init; } = [];

    /// <summary>Transfers with the same hint update one copy.</summary>
    public string SharedKeyHint { get; init; } = "";

    /// <summary>How changes are found; <see cref="DifferMetadata"/> when empty.</summary>
    public string Differ { get; init; } = "";

    /// <summary>Fail on daemons that do not know <see cref="Differ"/>.</summary>
    public bool DifferRequired { get; init; }

    /// <summary>Names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>How a file is fetched over HTTP.</summary>
public sealed record HttpOptions
{
    /// <summary>Digest the body must have.</summary>
    public Digest Checksum { get; init; }

    /// <summary>Name of the file in the result; taken from the answer or the URL when empty.</summary>
    public string Filename { get; init; } = "";

    /// <summary>Permission bits of the file; 0600 when 0.</summary>
    public int Mode { get; init; }

    /// <summary>Owner of the file.</summary>
    public int Uid { get; init; }

    /// <summary>Group of the file.</summary>
    public int Gid { get; init; }

    /// <summary>Names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>Where an OCI layout is found.</summary>
public sealed record OciLayoutOptions
{
    /// <summary>Session that has the layout; any of the build when empty.</summary>
    public string SessionId { get; init; } = "";

    /// <summary>Name under which the client offers the layout.</summary>
    public string StoreId { get; init; } = "";

    /// <summary>Use only so many of the image's layers.</summary>
    public int? LayerLimit { get; init; }

    /// <summary>Platform, names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}

/// <summary>How a git repository is fetched.</summary>
public sealed record GitOptions
{
    /// <summary>Secret used when <see cref="AuthTokenSecret"/> is null.</summary>
    public const string DefaultAuthTokenSecret = "GIT_AUTH_TOKEN";

    /// <summary>Secret used when <see cref="AuthHeaderSecret"/> is null.</summary>
    public const string DefaultAuthHeaderSecret = "GIT_AUTH_HEADER";

    /// <summary>Keep <c>.git</c> in the result.</summary>
    public bool KeepGitDir { get; init; }

    /// <summary>First digits of the commit, or of the tag, that the reference must have; empty for any.</summary>
    public string Checksum { get; init; } = "";

    /// <summary>Id of a secret with a token; empty for none, null for the default.</summary>
    public string? AuthTokenSecret { get; init; }

    /// <summary>Id of a secret with a whole Authorization header; empty for none, null for the default.</summary>
    public string? AuthHeaderSecret { get; init; }

    /// <summary>Lines of <c>known_hosts</c> for remotes over SSH.</summary>
    public IReadOnlyList<string> KnownSshHosts { get; init; } = [];

    /// <summary>Asks a host (with port) for its keys when none are given; null when it has none. Nothing is asked
    /// without it.</summary>
    public Func<string, string?>? ScanSshHostKeys { get; init; }

    /// <summary>Which of the client's SSH agents is used; <c>default</c> when empty.</summary>
    public string SshAgentId { get; init; } = "";

    /// <summary>Names, cache settings.</summary>
    public OpConstraints Constraints { get; init; } = OpConstraints.None;
}
