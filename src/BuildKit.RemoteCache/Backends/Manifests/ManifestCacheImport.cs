using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>Reads a cache from an index or an image manifest, or the inline caches of images (spec 04 §7.2, §8.1). What the
/// document is, is decided by its content.</summary>
internal sealed class ManifestCacheImport(
    Func<CancellationToken, Task<Descriptor>> resolve, IBlobProvider provider, bool isSessionBound, string imageRef,
    IReadOnlyDictionary<string, string> extraAnnotations, Func<bool>? isBusy = null) : ICacheImportBackend
{
    private const int Largest = 1 << 20;

    public bool IsSessionBound => isSessionBound;

    public string ImageRef => imageRef;

    public bool IsBusy => isBusy?.Invoke() ?? false;

    public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
    {
        var root = await resolve(cancellationToken).ConfigureAwait(false);
        var json = await ReadBlobAsync(root, Largest, cancellationToken).ConfigureAwait(false);
        var (isImage, mediaType) = Detect(json);
        progress.Note($"inferred cache manifest type: {mediaType}");

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
        if (config is null)
            return await ReadInlineAsync(json, isImage, progress, cancellationToken).ConfigureAwait(false);

        var document = CacheConfig.Parse(await ReadBlobAsync(config, Largest, cancellationToken).ConfigureAwait(false));
        return [CacheParser.Parse(document, Blobs(layers))];
    }

    private Dictionary<Digest, LayerBlob> Blobs(IEnumerable<Descriptor> layers)
    {
        var blobs = new Dictionary<Digest, LayerBlob>();
        foreach (var layer in layers)
        {
            var annotations = new Dictionary<string, string>(layer.Annotations, StringComparer.Ordinal);
            foreach (var (key, value) in extraAnnotations)
                annotations[key] = value;
            blobs[layer.Digest] = new LayerBlob(layer with { Annotations = annotations }, provider);
        }
        return blobs;
    }

    private async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadInlineAsync(
        byte[] json, bool isImage, CacheProgress progress, CancellationToken cancellationToken)
    {
        List<Manifest> images = [];
        await CollectAsync(json, isImage).ConfigureAwait(false);
        var parsed = await Task.WhenAll(images.Select(ReadImageAsync)).ConfigureAwait(false);
        return parsed.Where(p => p is not null).Select(p => p!).ToList();

        async Task CollectAsync(byte[] document, bool image)
        {
            if (image)
            {
                images.Add(Manifest.Parse(document));
                return;
            }
            foreach (var child in ImageIndex.Parse(document).Manifests)
            {
                var below = await ReadBlobAsync(child, Largest, cancellationToken).ConfigureAwait(false);
                await CollectAsync(below, Detect(below).IsImage).ConfigureAwait(false);
            }
        }

        async Task<IReadOnlyList<CacheNode>?> ReadImageAsync(Manifest manifest)
        {
            if (manifest.Config.Digest.IsEmpty || manifest.Layers.Count == 0)
                return null;
            var config = await ReadBlobAsync(manifest.Config, int.MaxValue, cancellationToken).ConfigureAwait(false);
            if (InlineCache.ReadFromImage(manifest.Layers, config, progress.Log) is not { } inline)
                return null;
            return CacheParser.Parse(inline.Config, Blobs(inline.Layers));
        }
    }

    private async Task<byte[]> ReadBlobAsync(Descriptor descriptor, int limit, CancellationToken cancellationToken)
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

    private static (bool IsImage, string MediaType) Detect(byte[] json)
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
