using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>Reads a cache from an index or an image manifest, or the inline caches of images (spec 04 §7.2, §8.1). What the
/// document is, is decided by its content.</summary>
internal sealed class ManifestCacheImport(
    Func<CancellationToken, Task<Descriptor>> resolve, IBlobProvider provider, bool isSessionBound, string imageRef,
    IReadOnlyDictionary<string, string> extraAnnotations, Func<bool>? isBusy = null, Func<CancellationToken, Task<Descriptor?>>? resolveSecond = null) : ICacheImportBackend
{
    private const int Largest = ManifestDocument.LargestImportable;

    private readonly ManifestReader _reader = new(provider);

    public bool IsSessionBound => isSessionBound;

    public string ImageRef => imageRef;

    public IReadOnlyList<CacheMountLayer> Mounts { get; private set; } = [];

    public bool IsBusy => isBusy?.Invoke() ?? false;

    public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
    {
        var (root, document) = await ReadRootAsync(cancellationToken).ConfigureAwait(false);
        progress.Note($"inferred cache manifest type: {document.MediaType}");
        if (document.Config is null)
            return await ReadInlineAsync(document.Json, document.IsImage, progress, cancellationToken).ConfigureAwait(false);
        var config = CacheConfig.Parse(await _reader.ReadBlobAsync(document.Config, Largest, cancellationToken).ConfigureAwait(false));
        Mounts = CacheMountLayer.In(config, provider);
        var graph = CacheParser.Parse(config, Blobs(document.Layers));
        if (config.Parts is null || resolveSecond is null || await ReadSecondAsync(root, progress, cancellationToken).ConfigureAwait(false) is not { } second)
            return [graph];
        Mounts = CacheMerge.Newest([.. Mounts, .. CacheMountLayer.In(second.Config, provider)]);
        return [CacheGraph.Normalize([.. graph, .. CacheParser.Parse(second.Config, Blobs(second.Layers))])];
    }

    /// <summary>What a shared cache has under its second name, unless that is the same; see <see cref="ManifestMerge"/>. The main
    /// name is a cache without it.</summary>
    private async Task<(CacheConfig Config, IReadOnlyList<Descriptor> Layers)?> ReadSecondAsync(Descriptor main, CacheProgress progress, CancellationToken cancellationToken)
    {
        try
        {
            if (await resolveSecond!(cancellationToken).ConfigureAwait(false) is not { } root || root.Digest == main.Digest)
                return null;
            var document = await _reader.ReadAsync(root, Largest, cancellationToken).ConfigureAwait(false);
            return document.Config is null
                ? null
                : (CacheConfig.Parse(await _reader.ReadBlobAsync(document.Config, Largest, cancellationToken).ConfigureAwait(false)), document.Layers);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            progress.Warn($"a part of the cache is not used: {e.Message}");
            return null;
        }
    }

    /// <summary>Reads what the name points at. When that is gone by then, and the name points elsewhere, another export was faster.</summary>
    private async Task<(Descriptor Root, ManifestCache Document)> ReadRootAsync(CancellationToken cancellationToken)
    {
        var root = await resolve(cancellationToken).ConfigureAwait(false);
        try
        {
            return (root, await _reader.ReadAsync(root, Largest, cancellationToken).ConfigureAwait(false));
        }
        catch (RegistryNotFoundException)
        {
            var now = await resolve(cancellationToken).ConfigureAwait(false);
            if (now.Digest == root.Digest)
                throw;
            return (now, await _reader.ReadAsync(now, Largest, cancellationToken).ConfigureAwait(false));
        }
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
                var below = await _reader.ReadBlobAsync(child, Largest, cancellationToken).ConfigureAwait(false);
                await CollectAsync(below, ManifestReader.Detect(below).IsImage).ConfigureAwait(false);
            }
        }

        async Task<IReadOnlyList<CacheNode>?> ReadImageAsync(Manifest manifest)
        {
            if (manifest.Config.Digest.IsEmpty || manifest.Layers.Count == 0)
                return null;
            var config = await _reader.ReadBlobAsync(manifest.Config, int.MaxValue, cancellationToken).ConfigureAwait(false);
            if (InlineCache.ReadFromImage(manifest.Layers, config, progress.Log) is not { } inline)
                return null;
            return CacheParser.Parse(inline.Config, Blobs(inline.Layers));
        }
    }
}
