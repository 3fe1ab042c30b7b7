using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>A place that takes blobs and a manifest.</summary>
internal interface IManifestTarget
{
    /// <summary>Makes sure a blob is there; repeats on errors that may pass, telling the log.</summary>
    Task WriteLayerAsync(Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, Action<string> log, CancellationToken cancellationToken);

    Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);

    Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);
}

/// <summary>Writes a cache as an index or an image manifest (spec 04 §6): layers, config, then the document that names them.</summary>
internal sealed class ManifestCacheExport(
    string vertexName, IReadOnlyDictionary<string, string> attributes, Func<CancellationToken, Task<IManifestTarget>> openTarget) : ICacheExportBackend
{
    private const int LargestImportable = 1 << 20;
    private const string DiffIdAnnotation = "containerd.io/uncompressed";

    private readonly bool _oci = CacheAttributes.Flag(attributes, "oci-mediatypes", fallback: true);
    private readonly bool _asImage = CacheAttributes.Flag(attributes, "image-manifest", fallback: false);

    public string VertexName => vertexName;

    public CompressionOptions Compression { get; } = CacheAttributes.Compression(attributes);

    public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
    {
        if (_asImage && !_oci)
            throw new RemoteCacheException("invalid configuration for remote cache");
        if (cache.Config.Layers.Count == 0)
        {
            progress.Note("skipping cache export for empty result");
            return new Dictionary<string, string>(StringComparer.Ordinal);
        }
        var target = await openTarget(cancellationToken).ConfigureAwait(false);

        List<Descriptor> layers = [];
        foreach (var layer in cache.Config.Layers)
        {
            if (!cache.Blobs.TryGetValue(layer.Blob, out var blob))
                throw new RemoteCacheException($"missing blob {layer.Blob}");
            if (!blob.Descriptor.Annotations.ContainsKey(DiffIdAnnotation))
                throw new RemoteCacheException($"layer {layer.Blob} has no {DiffIdAnnotation} annotation: importers could not use it");
            layers.Add(blob.Descriptor with { MediaType = MediaTypes.ConvertLayer(blob.Descriptor.MediaType, _oci) ?? blob.Descriptor.MediaType });
            await progress.RunAsync($"writing layer {layer.Blob}", () => RemoteCacheException.WrapAsync(
                "error writing layer blob",
                () => target.WriteLayerAsync(
                    blob.Descriptor, token => blob.Provider.OpenAsync(blob.Descriptor, 0, token), progress.Log, cancellationToken))).ConfigureAwait(false);
        }

        var json = cache.Config.ToJson();
        if (json.Length > LargestImportable)
            progress.Log($"warning: the cache config has {json.Length} bytes; importers that allow {LargestImportable} will refuse it\n");
        var config = Descriptor.Of(MediaTypes.CacheConfig, json);
        await progress.RunAsync($"writing config {config.Digest}", () => RemoteCacheException.WrapAsync(
            "error writing config blob", () => target.WriteConfigAsync(config, json, cancellationToken))).ConfigureAwait(false);

        var (manifest, document) = Document(layers, config);
        var name = _asImage ? "writing cache image manifest" : "writing cache manifest";
        await progress.RunAsync($"{name} {manifest.Digest}", () => RemoteCacheException.WrapAsync(
            "error writing manifest blob", () => target.WriteManifestAsync(manifest, document, cancellationToken))).ConfigureAwait(false);
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["cache.manifest"] = System.Text.Encoding.UTF8.GetString(manifest.ToJson()),
        };
    }

    private (Descriptor Descriptor, byte[] Json) Document(List<Descriptor> layers, Descriptor config)
    {
        if (_asImage)
        {
            var image = new Manifest(MediaTypes.OciManifest, config, layers).ToJson(indented: false);
            return (Descriptor.Of(MediaTypes.OciManifest, image), image);
        }
        var type = MediaTypes.Index(_oci);
        var index = new ImageIndex(type, [.. layers, config]).ToJson(indented: false);
        return (Descriptor.Of(type, index), index);
    }
}
