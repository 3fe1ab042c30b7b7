using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>An index or image manifest that may be a cache.</summary>
/// <param name="Root">Its descriptor.</param>
/// <param name="MediaType">Its type, declared or inferred.</param>
/// <param name="IsImage">An image manifest, not an index.</param>
/// <param name="Json">Its bytes.</param>
/// <param name="Config">The cache config; null when it is no cache.</param>
/// <param name="Layers">The other entries.</param>
internal sealed record ManifestCache(Descriptor Root, string MediaType, bool IsImage, byte[] Json, Descriptor? Config, IReadOnlyList<Descriptor> Layers);

/// <summary>Reads documents of a place that holds blobs (spec 04 §7.2). What a document is, is decided by its content.</summary>
internal sealed class ManifestReader(IBlobProvider provider)
{
    /// <summary>Reads a document.</summary>
    /// <exception cref="RemoteCacheException">It is too large, not the one named, or neither index nor manifest.</exception>
    public async Task<ManifestCache> ReadAsync(Descriptor root, int limit, CancellationToken cancellationToken)
    {
        var json = await ReadBlobAsync(root, limit, cancellationToken).ConfigureAwait(false);
        var (isImage, mediaType) = Detect(json);
        Descriptor? config = null;
        List<Descriptor> layers = [];
        if (isImage)
        {
            var manifest = Manifest.Parse(json);
            if (manifest.Config.MediaType == MediaTypes.CacheConfig)
                config = manifest.Config;
            layers.AddRange(manifest.Layers);
        }
        else
        {
            foreach (var entry in ImageIndex.Parse(json).Manifests)
            {
                if (entry.MediaType == MediaTypes.CacheConfig)
                    config = entry;
                else
                    layers.Add(entry);
            }
        }
        return new ManifestCache(root, mediaType, isImage, json, config, layers);
    }

    /// <summary>Reads the cache a document names; null when it names none.</summary>
    public async Task<(MarshalledCache Cache, byte[] Config)?> ReadCacheAsync(ManifestCache document, int limit, CancellationToken cancellationToken)
    {
        if (document.Config is null)
            return null;
        var json = await ReadBlobAsync(document.Config, limit, cancellationToken).ConfigureAwait(false);
        var blobs = new Dictionary<Digest, LayerBlob>();
        foreach (var layer in document.Layers)
            blobs[layer.Digest] = new LayerBlob(layer, provider);
        var config = CacheConfig.Parse(json);
        return (new MarshalledCache(config, blobs).With(CacheMountLayer.In(config, provider)), json);
    }

    /// <summary>Reads and verifies a small blob.</summary>
    /// <exception cref="RemoteCacheException">It is too large or not the one named.</exception>
    public async Task<byte[]> ReadBlobAsync(Descriptor descriptor, int limit, CancellationToken cancellationToken)
    {
        if (descriptor.Size > limit)
            throw new RemoteCacheException($"blob {descriptor.Digest} is too large ({descriptor.Size} > {limit})");
        var stream = await provider.OpenAsync(descriptor, 0, cancellationToken).ConfigureAwait(false);
        await using (stream.ConfigureAwait(false))
        {
            using var buffer = new MemoryStream();
            var piece = new byte[32 * 1024];
            for (int count; (count = await stream.ReadAsync(piece, cancellationToken).ConfigureAwait(false)) > 0;)
            {
                buffer.Write(piece, 0, count);
                if (buffer.Length > limit)
                    throw new RemoteCacheException($"blob {descriptor.Digest} is too large ({buffer.Length} > {limit})");
            }
            var bytes = buffer.ToArray();
            if (descriptor.Digest.Algorithm == "sha256" && Digest.Sha256(bytes) is var actual && actual != descriptor.Digest)
                throw new RemoteCacheException($"blob {descriptor.Digest} has digest {actual}");
            return bytes;
        }
    }

    /// <summary>Whether a document is an image manifest, and its type.</summary>
    public static (bool IsImage, string MediaType) Detect(byte[] json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            bool Has(string name) => root.ValueKind == JsonValueKind.Object
                && root.EnumerateObject().Any(p => string.Equals(p.Name, name, StringComparison.OrdinalIgnoreCase) && p.Value.ValueKind != JsonValueKind.Null);
            var isImage = Has("config") || Has("layers");
            if (isImage && Has("manifests"))
                throw new RemoteCacheException("invalid ambiguous manifest and manifest list");
            var declared = root.TryGetProperty("mediaType", out var type) ? type.GetString() ?? "" : "";
            if ((MediaTypes.IsManifest(declared) && !isImage) || (MediaTypes.IsIndex(declared) && isImage))
                throw new RemoteCacheException("mediaType in manifest does not match manifest contents");
            if (MediaTypes.IsManifest(declared) || MediaTypes.IsIndex(declared))
                return (isImage, declared);
            return (isImage, isImage ? MediaTypes.DockerManifest : MediaTypes.DockerManifestList);
        }
        catch (JsonException e)
        {
            throw new RemoteCacheException($"invalid cache manifest: {e.Message}", e);
        }
    }
}
