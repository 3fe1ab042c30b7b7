namespace BuildKit.Session.Content;

/// <summary>Names of content stores that a session offers (spec 01 §5.7).</summary>
public static class ContentStores
{
    /// <summary>Request metadata that names the store.</summary>
    public const string Header = "buildkit-attachable-store-id";

    /// <summary>The store an exporter with <c>tar=false</c> writes to.</summary>
    public const string Export = "export";

    /// <summary>The store of a local cache directory; the text of the attribute as it is.</summary>
    public static string Local(string directory) => LocalPrefix + directory;

    /// <summary>Whether a store is a local cache directory.</summary>
    public static bool IsLocal(string store) => store.StartsWith(LocalPrefix, StringComparison.Ordinal);

    private const string LocalPrefix = "local:";

    /// <summary>Key of a build's answer: the manifest, as JSON text of its descriptor, that belongs into the index of the store of a
    /// local cache (spec 04 §5, §8.3). The original knows one for all directories.</summary>
    public const string CacheManifestKey = "cache.manifest";

    /// <summary>The same for one of several exports, given where more than one has a manifest.</summary>
    /// <param name="index">Its place among the exports of the request.</param>
    public static string CacheManifestKeyOf(int index) => $"{CacheManifestKey}.{index}";

    /// <summary>The store of a named layout.</summary>
    public static string Oci(string name) => "oci:" + name;
}
