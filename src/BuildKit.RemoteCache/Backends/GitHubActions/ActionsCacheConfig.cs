using System.Security.Cryptography;
using System.Text;
using BuildKit.Oci;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>What the attributes of a gha cache say (spec 04 §8.4). The daemon reads no environment: clients fill in what the job
/// was given.</summary>
internal sealed record ActionsCacheConfig
{
    // Caches whose address names no version but this host are served by the second one.
    private const string Version2Host = "results-receiver.actions.githubusercontent.com";

    private const string FormatVersion = "1";

    /// <summary>Set of all indexes of a cache; blobs are shared by all.</summary>
    public string Scope { get; init; } = "buildkit";

    public required ActionsToken Token { get; init; }

    /// <summary>Address of the service, ending in a slash.</summary>
    public required string Url { get; init; }

    /// <summary>Whether the second version of the service is spoken.</summary>
    public bool IsVersion2 { get; init; }

    /// <summary>How long a request may be put off by a busy service: below zero not at all; a given zero is five minutes, as in
    /// the original.</summary>
    public required TimeSpan Timeout { get; init; }

    /// <summary>Repository whose caches are listed instead of asking for each layer; empty for none.</summary>
    public string Repository { get; init; } = "";

    /// <summary>Token for that list.</summary>
    public string GitHubToken { get; init; } = "";

    /// <summary>Beginning of the keys of blobs.</summary>
    public const string BlobPrefix = "buildkit-blob-" + FormatVersion + "-";

    /// <summary>Key of a blob.</summary>
    public static string BlobKey(Digest digest) => BlobPrefix + digest;

    /// <summary>Key of the index of a token's scope, without its number.</summary>
    public string IndexKey(string tokenScope) =>
        $"index-{Scope}-{FormatVersion}-{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(tokenScope)))[..8]}";

    /// <summary>Reads attributes.</summary>
    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    public static ActionsCacheConfig Read(IReadOnlyDictionary<string, string> attributes, DateTimeOffset now)
    {
        var token = attributes.GetValueOrDefault("token") ?? throw new FormatException("token not set for github actions cache");
        var version = Version(attributes);
        var url = "";
        if (version != 1 && attributes.TryGetValue("url_v2", out var second))
            (url, version) = (second, 2);
        if (url.Length == 0)
            url = attributes.GetValueOrDefault("url") ?? "";
        if (url.Length == 0)
            throw new FormatException("url not set for github actions cache");
        if (!Uri.TryCreate(url, UriKind.Absolute, out var parsed) || parsed.Scheme is not ("http" or "https"))
            throw new FormatException($"url of github actions cache is not a valid http or https URL: {url}");
        if (version == 0)
            version = url.Contains(Version2Host, StringComparison.Ordinal) ? 2 : 1;
        return new ActionsCacheConfig
        {
            Scope = attributes.GetValueOrDefault("scope") ?? "buildkit",
            Url = url.TrimEnd('/') + "/",
            IsVersion2 = version > 1,
            Timeout = CacheAttributes.Timeout(attributes, "github actions") is not { } timeout ? TimeSpan.FromMinutes(10) : timeout == TimeSpan.Zero ? TimeSpan.FromMinutes(5) : timeout,
            Repository = attributes.GetValueOrDefault("repository") ?? "",
            GitHubToken = attributes.GetValueOrDefault("ghtoken") ?? "",
            Token = ActionsToken.Parse(token, now),
        };
    }

    private static long Version(IReadOnlyDictionary<string, string> attributes)
    {
        if (!attributes.TryGetValue("version", out var text))
            return 0;
        return GoSyntax.ParseInt(text, out var error) ?? throw new FormatException($"failed to parse api version {GoSyntax.Quote(text)}, expected positive integer: {error}");
    }
}
