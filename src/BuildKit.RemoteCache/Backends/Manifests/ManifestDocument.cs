using BuildKit.Oci;
using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>The two documents of a cache among blobs: its config, and the index or image manifest that names config and layers
/// (spec 04 §6).</summary>
internal sealed record ManifestDocument(Descriptor Config, byte[] ConfigJson, Descriptor Manifest, byte[] ManifestJson)
{
    /// <summary>Most bytes of either document that importers take.</summary>
    public const int LargestImportable = 1 << 20;

    private const string DiffIdAnnotation = "containerd.io/uncompressed";

    /// <summary>Writes the documents of a cache.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="oci">Types of OCI, not Docker's.</param>
    /// <param name="asImage">As an image manifest, not an index.</param>
    /// <exception cref="RemoteCacheException">A layer is unknown or does not say what importers must know.</exception>
    public static ManifestDocument Of(MarshalledCache cache, bool oci, bool asImage)
    {
        // Mounts are listed so that the store keeps their layers.
        List<Descriptor> layers = [.. cache.Config.Layers.Select(layer => layer.Blob).Concat(cache.Config.Mounts.Select(mount => mount.Blob)).Select(layer => DescriptorOf(cache, layer)).Select(layer => layer with { MediaType = MediaTypes.ConvertLayer(layer.MediaType, oci) ?? layer.MediaType })];
        var json = cache.Config.ToJson();
        var config = Descriptor.Of(MediaTypes.CacheConfig, json);
        if (asImage)
        {
            var image = new Manifest(MediaTypes.OciManifest, config, layers).ToJson(indented: false);
            return new ManifestDocument(config, json, Descriptor.Of(MediaTypes.OciManifest, image), image);
        }
        var type = MediaTypes.Index(oci);
        var index = new ImageIndex(type, [.. layers, config]).ToJson(indented: false);
        return new ManifestDocument(config, json, Descriptor.Of(type, index), index);
    }

    /// <summary>The descriptor of a layer, complete.</summary>
    /// <exception cref="RemoteCacheException">It is unknown or incomplete.</exception>
    public static Descriptor DescriptorOf(MarshalledCache cache, Digest layer)
    {
        if (!cache.Blobs.TryGetValue(layer, out var blob))
            throw new RemoteCacheException($"missing blob {layer}");
        return blob.Descriptor.Annotations.ContainsKey(DiffIdAnnotation)
            ? blob.Descriptor
            : throw new RemoteCacheException($"layer {layer} has no {DiffIdAnnotation} annotation: importers could not use it");
    }
}
