using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Annotated;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>What the attributes of an azblob cache say (spec 04 §8.6).</summary>
internal sealed record AzureBlobConfig : ObjectStoreConfig
{
    private const string Variables = "BUILDKIT_AZURE_STORAGE_";

    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    private AzureBlobConfig(StoreAttributes attributes)
        : base(attributes, "azblob", "blobs", "manifests", Variables + "PREFIX")
    {
        var url = attributes.Find("account_url", Variables + "ACCOUNT_URL")
            ?? throw new FormatException("either ${BUILDKIT_AZURE_STORAGE_ACCOUNT_URL} or account_url attribute is required for azblob cache");
        var isUrl = Uri.TryCreate(url, UriKind.Absolute, out var parsed) && parsed.Scheme is "http" or "https";
        AccountName = attributes.Find("account_name", Variables + "ACCOUNT_NAME") ?? (isUrl ? parsed!.Host.Split('.')[0] : "");
        if (AccountName.Length == 0)
            throw new FormatException("unable to retrieve account name from account url or ${BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME} or account_name attribute for azblob cache");
        if (!isUrl)
            throw new FormatException($"azure storage account url provided is not a valid url: parse {GoSyntax.Quote(url)}: not an absolute http or https URL");
        AccountUrl = $"{parsed!.Scheme}://{parsed.Authority}{parsed.AbsolutePath.TrimEnd('/')}";
        Container = attributes.Find("container", Variables + "CONTAINER") ?? "buildkit-cache";
    }

    /// <summary>The storage service without a slash at its end.</summary>
    public string AccountUrl { get; }

    public string AccountName { get; }

    public string Container { get; }

    /// <summary>Reads attributes; the daemon's environment comes second.</summary>
    /// <exception cref="FormatException">Something needed is missing or cannot be read.</exception>
    public static AzureBlobConfig Read(IReadOnlyDictionary<string, string> attributes, Func<string, string?> environment) => new(new StoreAttributes(attributes, environment));

    public override string BlobKey(Digest digest) => Join(Prefix, BlobsPrefix, digest.ToString());

    public override string ManifestKey(string name) => Join(Prefix, ManifestsPrefix, name);

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
