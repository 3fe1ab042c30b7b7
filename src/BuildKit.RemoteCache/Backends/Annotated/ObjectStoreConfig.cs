using BuildKit.Oci;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Annotated;

/// <summary>What the attributes of all object stores say: where in the store a cache lies, and how it is reached (spec 04 §8.5, §8.6).</summary>
internal abstract record ObjectStoreConfig
{
    /// <summary>In front of all keys.</summary>
    public string Prefix { get; private init; }

    /// <summary>In front of the keys of layers.</summary>
    public string BlobsPrefix { get; private init; }

    /// <summary>In front of the keys of configs.</summary>
    public string ManifestsPrefix { get; private init; }

    /// <summary>Names of the cache; an export writes all of them.</summary>
    public IReadOnlyList<string> Names { get; private init; }

    /// <summary>The secret that proves an identity; empty for the daemon's own identity.</summary>
    public string SecretAccessKey { get; private init; }

    /// <summary>How long the store may be silent.</summary>
    public TimeSpan Timeout { get; private init; }

    /// <summary>Reads what all stores have.</summary>
    /// <param name="attributes">The attributes.</param>
    /// <param name="type">Type of the cache.</param>
    /// <param name="blobsPrefix">Prefix of layers that is not given.</param>
    /// <param name="manifestsPrefix">Prefix of configs that is not given.</param>
    /// <param name="prefixVariable">Variable that names the prefix which is not given.</param>
    /// <exception cref="FormatException"><c>timeout</c> cannot be read.</exception>
    protected ObjectStoreConfig(StoreAttributes attributes, string type, string blobsPrefix, string manifestsPrefix, string? prefixVariable = null)
    {
        Prefix = attributes.Find("prefix", prefixVariable) ?? "";
        BlobsPrefix = attributes.Find("blobs_prefix") ?? blobsPrefix;
        ManifestsPrefix = attributes.Find("manifests_prefix") ?? manifestsPrefix;
        Names = (attributes.Find("name") ?? "buildkit").Split(';');
        SecretAccessKey = attributes.Find("secret_access_key") ?? "";
        Timeout = CacheAttributes.Timeout(attributes.All, type) ?? TransferPolicy.Default.Silence;
        if (Timeout <= TimeSpan.Zero)
            throw new FormatException($"failed to parse timeout for {type} cache: {attributes.Find("timeout")} is not above zero");
    }

    /// <summary>Key of a layer.</summary>
    public abstract string BlobKey(Digest digest);

    /// <summary>Key of the config of a name.</summary>
    public abstract string ManifestKey(string name);
}

/// <summary>Attributes and the daemon's environment behind them. An attribute that is there counts, even when empty; so does a
/// variable.</summary>
internal readonly record struct StoreAttributes(IReadOnlyDictionary<string, string> All, Func<string, string?> Environment)
{
    /// <summary>An attribute, else the variable; null when there is neither.</summary>
    public string? Find(string name, string? variable = null) =>
        All.TryGetValue(name, out var value) ? value : variable is null ? null : Environment(variable);
}

/// <summary>What only an export is told; imports take no notice of it.</summary>
/// <param name="Compression">Compression of newly made layers.</param>
/// <param name="Merge">How the export joins what is there; null when it replaces it.</param>
internal sealed record StoreExportOptions(CompressionOptions Compression, MergeOptions? Merge)
{
    /// <summary>Reads attributes.</summary>
    /// <exception cref="FormatException">One of them cannot be read.</exception>
    public static StoreExportOptions Read(IReadOnlyDictionary<string, string> attributes) => new(CompressionAttributes.Read(attributes), MergeOptions.Read(attributes));
}
