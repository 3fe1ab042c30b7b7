using BuildKit.Oci;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>What the attributes of an azblob cache say (spec 04 §8.6). An attribute that is there counts, even when empty; the
/// daemon's environment comes second.</summary>
internal sealed record AzureBlobConfig
{
    /// <summary>The storage service without a slash at its end.</summary>
    public required string AccountUrl { get; init; }

    public required string AccountName { get; init; }

    public string Container { get; init; } = "buildkit-cache";

    public string Prefix { get; init; } = "";

    public string BlobsPrefix { get; init; } = "blobs";

    public string ManifestsPrefix { get; init; } = "manifests";

    public IReadOnlyList<string> Names { get; init; } = ["buildkit"];

    /// <summary>Key of the account in base64; empty for the daemon's own identity.</summary>
    public string SecretAccessKey { get; init; } = "";

    /// <summary>How long the store may be silent.</summary>
    public TimeSpan Timeout { get; init; } = TransferPolicy.Default.Silence;

    public CompressionOptions Compression { get; init; } = CompressionOptions.Default;

    /// <summary>How an export joins what is there; null when it replaces it.</summary>
    public MergeOptions? Merge { get; init; }

    /// <summary>Reads attributes.</summary>
    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    public static AzureBlobConfig Read(IReadOnlyDictionary<string, string> attributes, Func<string, string?> environment)
    {
        string? Given(string name, string variable) => attributes.TryGetValue(name, out var value) ? value : environment("BUILDKIT_AZURE_STORAGE_" + variable);
        var url = Given("account_url", "ACCOUNT_URL")
            ?? throw new FormatException("either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache");
        if (!Uri.TryCreate(url, UriKind.Absolute, out var parsed) || parsed.Scheme is not ("http" or "https"))
            throw new FormatException($"azure storage account url provided is not a valid url: parse {GoSyntax.Quote(url)}: not an absolute http or https URL");
        var account = Given("account_name", "ACCOUNT_NAME") ?? parsed.Host.Split('.')[0];
        if (account.Length == 0)
            throw new FormatException("unable to retrieve account name from account url or ${BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME} or account_name attribute for azblob cache");
        return new AzureBlobConfig
        {
            AccountUrl = $"{parsed.Scheme}://{parsed.Authority}{parsed.AbsolutePath.TrimEnd('/')}",
            AccountName = account,
            Container = Given("container", "CONTAINER") ?? "buildkit-cache",
            Prefix = Given("prefix", "PREFIX") ?? "",
            BlobsPrefix = attributes.GetValueOrDefault("blobs_prefix") ?? "blobs",
            ManifestsPrefix = attributes.GetValueOrDefault("manifests_prefix") ?? "manifests",
            Names = (attributes.GetValueOrDefault("name") ?? "buildkit").Split(';'),
            SecretAccessKey = attributes.GetValueOrDefault("secret_access_key") ?? "",
            Timeout = CacheAttributes.Timeout(attributes, "azblob"),
            Compression = CacheAttributes.Compression(attributes),
            Merge = MergeOptions.Read(attributes),
        };
    }

    public string BlobKey(Digest digest) => Join(Prefix, BlobsPrefix, digest.ToString());

    public string ManifestKey(string name) => Join(Prefix, ManifestsPrefix, name);

    /// <summary>Joins the parts as paths are joined: empty parts, <c>.</c> and doubled slashes go, <c>..</c> takes the part before.</summary>
    internal static string Join(params ReadOnlySpan<string> parts)
    {
        var joined = string.Join('/', parts.ToArray().Where(part => part.Length > 0));
        List<string> kept = [];
        foreach (var part in joined.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == "..")
            {
                if (kept.Count > 0 && kept[^1] != "..")
                    kept.RemoveAt(kept.Count - 1);
                else if (!joined.StartsWith('/'))
                    kept.Add(part);
            }
            else if (part != ".")
            {
                kept.Add(part);
            }
        }
        return (joined.StartsWith('/') ? "/" : "") + string.Join('/', kept);
    }
}
