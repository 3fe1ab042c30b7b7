using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Config;

/// <summary>
/// The content of a cache mount that travels with a cache: one layer, by the mount's id. An extension: the list is one more key
/// of the document, which readers of the original leave out, and no record refers to its layers.
/// </summary>
/// <param name="Id">Id of the mount as builds know it.</param>
/// <param name="Blob">Digest of the layer.</param>
/// <param name="Layer">What the layer is.</param>
public sealed record CacheConfigMount(string Id, Digest Blob, CacheLayerAnnotations Layer)
{
    /// <summary>When a build last exported it into a shared cache; null when nobody noted it.</summary>
    public Rfc3339Time? UsedAt { get; init; }

    internal void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteText("id", Id);
        writer.WriteText("blob", Blob.ToString());
        writer.WriteName("annotations");
        Layer.WriteTo(writer);
        if (UsedAt is { } usedAt)
        {
            writer.WriteName("usedAt");
            writer.WriteString(usedAt.ToString());
        }
        writer.WriteEndObject();
    }
}

/// <summary>A mount's content and where its bytes are.</summary>
/// <param name="Mount">What the config says of it.</param>
/// <param name="Layer">Its layer.</param>
public sealed record CacheMountLayer(CacheConfigMount Mount, LayerBlob Layer)
{
    private const string DiffIdAnnotation = "containerd.io/uncompressed";

    /// <summary>The content of a mount as a layer that was made for it.</summary>
    /// <param name="id">Id of the mount.</param>
    /// <param name="layer">Descriptor; its annotations name the uncompressed form.</param>
    /// <param name="provider">Where its bytes are.</param>
    public static CacheMountLayer Of(string id, Descriptor layer, IBlobProvider provider) => new(
        new CacheConfigMount(id, layer.Digest, new CacheLayerAnnotations(layer.MediaType, Digest.Parse(layer.Annotations[DiffIdAnnotation]), layer.Size, Rfc3339Time.From(DateTimeOffset.MinValue))),
        new LayerBlob(layer, provider));

    /// <summary>The mounts of a config.</summary>
    public static IReadOnlyList<CacheMountLayer> In(CacheConfig config, IBlobProvider provider) => [.. config.Mounts.Select(mount => new CacheMountLayer(mount, new LayerBlob(
        new Descriptor(mount.Layer.MediaType, mount.Blob, mount.Layer.Size)
        {
            Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { [DiffIdAnnotation] = mount.Layer.DiffId.ToString() },
        }, provider)))];
}
