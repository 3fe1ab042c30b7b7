namespace BuildKit.Oci;

/// <summary>Media types and the conversion between the OCI and the Docker family (spec 07 §7.2).</summary>
public static class MediaTypes
{
    /// <summary>OCI image index.</summary>
    public const string OciIndex = "application/vnd.oci.image.index.v1+json";
    /// <summary>OCI image manifest.</summary>
    public const string OciManifest = "application/vnd.oci.image.manifest.v1+json";
    /// <summary>OCI image config.</summary>
    public const string OciConfig = "application/vnd.oci.image.config.v1+json";
    /// <summary>OCI layer, uncompressed; <c>+gzip</c> and <c>+zstd</c> are appended.</summary>
    public const string OciLayer = "application/vnd.oci.image.layer.v1.tar";
    /// <summary>OCI layer, gzip.</summary>
    public const string OciLayerGzip = OciLayer + "+gzip";
    /// <summary>OCI layer, zstd.</summary>
    public const string OciLayerZstd = OciLayer + "+zstd";
    /// <summary>OCI layer that must not be distributed, uncompressed.</summary>
    public const string OciNondistributableLayer = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    /// <summary>The empty JSON document <c>{}</c>.</summary>
    public const string OciEmptyJson = "application/vnd.oci.empty.v1+json";
    /// <summary>Docker manifest list.</summary>
    public const string DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// <summary>Docker manifest, schema 2.</summary>
    public const string DockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
    /// <summary>Docker manifest, schema 1, signed.</summary>
    public const string DockerSchema1Manifest = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// <summary>Docker image config.</summary>
    public const string DockerConfig = "application/vnd.docker.container.image.v1+json";
    /// <summary>Docker layer, uncompressed; <c>.gzip</c> and <c>.zstd</c> are appended.</summary>
    public const string DockerLayer = "application/vnd.docker.image.rootfs.diff.tar";
    /// <summary>Docker layer, gzip.</summary>
    public const string DockerLayerGzip = DockerLayer + ".gzip";
    /// <summary>Docker layer, zstd (no official type, written by builders).</summary>
    public const string DockerLayerZstd = DockerLayer + ".zstd";
    /// <summary>Docker layer that must not be distributed, uncompressed.</summary>
    public const string DockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    /// <summary>In-toto statement.</summary>
    public const string InToto = "application/vnd.in-toto+json";
    /// <summary>Artifact type of attestation manifests.</summary>
    public const string AttestationManifest = "application/vnd.docker.attestation.manifest.v1+json";
    /// <summary>Remote build cache config.</summary>
    public const string CacheConfig = "application/vnd.buildkit.cacheconfig.v0";

    private static readonly (string Oci, string Docker)[] Layers =
    [
        (OciLayer, DockerLayer),
        (OciLayerGzip, DockerLayerGzip),
        (OciLayerZstd, DockerLayerZstd),
        (OciNondistributableLayer, DockerForeignLayer),
        (OciNondistributableLayer + "+gzip", DockerForeignLayer + ".gzip"),
    ];

    /// <summary>Whether the type is an image manifest of either family.</summary>
    public static bool IsManifest(string mediaType) => mediaType is OciManifest or DockerManifest;

    /// <summary>Whether the type is an index or manifest list.</summary>
    public static bool IsIndex(string mediaType) => mediaType is OciIndex or DockerManifestList;

    /// <summary>Whether the type is an image config of either family.</summary>
    public static bool IsConfig(string mediaType) => mediaType is OciConfig or DockerConfig;

    /// <summary>Whether the type is a layer of either family, whatever its compression.</summary>
    public static bool IsLayer(string mediaType) =>
        mediaType.StartsWith("application/vnd.oci.image.layer.", StringComparison.Ordinal)
        || mediaType.StartsWith("application/vnd.docker.image.rootfs.", StringComparison.Ordinal);

    /// <summary>Whether the type is a layer that is not to be pushed.</summary>
    public static bool IsNondistributable(string mediaType) =>
        mediaType.StartsWith(OciNondistributableLayer, StringComparison.Ordinal)
        || mediaType.StartsWith(DockerForeignLayer, StringComparison.Ordinal);

    /// <summary>The index type of a family.</summary>
    public static string Index(bool oci) => oci ? OciIndex : DockerManifestList;

    /// <summary>The manifest type of a family.</summary>
    public static string Manifest(bool oci) => oci ? OciManifest : DockerManifest;

    /// <summary>The config type of a family.</summary>
    public static string Config(bool oci) => oci ? OciConfig : DockerConfig;

    /// <summary>Converts a layer type to a family; null for a type that has no form there (callers keep it and warn).</summary>
    public static string? ConvertLayer(string mediaType, bool oci)
    {
        foreach (var pair in Layers)
        {
            if (mediaType == pair.Oci || mediaType == pair.Docker)
                return oci ? pair.Oci : pair.Docker;
        }
        return oci && mediaType == OciNondistributableLayer + "+zstd" ? mediaType : null;
    }

    /// <summary>Replaces a non-distributable layer type by its distributable form; other types are returned as they are.</summary>
    public static string ToDistributable(string mediaType) =>
        mediaType.StartsWith(OciNondistributableLayer, StringComparison.Ordinal) ? OciLayer + mediaType[OciNondistributableLayer.Length..]
        : mediaType.StartsWith(DockerForeignLayer, StringComparison.Ordinal) ? DockerLayer + mediaType[DockerForeignLayer.Length..]
        : mediaType;

    /// <summary>Replaces a layer type by its non-distributable form; other types are returned as they are.</summary>
    public static string ToNondistributable(string mediaType) =>
        mediaType.StartsWith(OciLayer, StringComparison.Ordinal) ? OciNondistributableLayer + mediaType[OciLayer.Length..]
        : mediaType.StartsWith(DockerLayer, StringComparison.Ordinal) ? DockerForeignLayer + mediaType[DockerLayer.Length..]
        : mediaType;
}
