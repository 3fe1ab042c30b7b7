using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
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
    string vertexName, IReadOnlyDictionary<string, string> attributes, CacheBackendContext context,
    Func<CancellationToken, Task<IManifestTarget>> openTarget) : ICacheExportBackend
{
    private const int LayersAtOnce = 4;

    private readonly bool _oci = CacheAttributes.Flag(attributes, "oci-mediatypes", fallback: true);
    private readonly bool _asImage = CacheAttributes.Flag(attributes, "image-manifest", fallback: false);
    private readonly MergeOptions? _merge = MergeOptions.Read(attributes, ManifestDocument.LargestImportable);

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
        var layers = cache.Config.Layers.Select(layer => layer.Blob).Concat(cache.Config.Mounts.Select(mount => mount.Blob)).Distinct();
        var options = new ParallelOptions { MaxDegreeOfParallelism = LayersAtOnce, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(layers, options, async (layer, stop) =>
        {
            var descriptor = ManifestDocument.DescriptorOf(cache, layer);
            var provider = cache.Blobs[layer].Provider;
            await progress.RunAsync($"writing layer {layer}", () => RemoteCacheException.WrapAsync(
                "error writing layer blob",
                () => target.WriteLayerAsync(descriptor, token => provider.OpenAsync(descriptor, 0, token), progress.Log, stop))).ConfigureAwait(false);
        }).ConfigureAwait(false);

        Descriptor manifest;
        if (_merge is not null && target is IJoinableTarget joinable)
        {
            using var turn = await context.Turns.EnterAsync(joinable.Place, cancellationToken).ConfigureAwait(false);
            manifest = await new ManifestMerge(joinable, _merge, context.Time).JoinAsync(
                cache, Document, (document, last) => last ? WriteManifestAsync(document) : WriteConfigAsync(document), cancellationToken).ConfigureAwait(false);
        }
        else
        {
            var document = Document(cache);
            if (document.ConfigJson.Length > ManifestDocument.LargestImportable)
                progress.Log($"warning: the cache config has {document.ConfigJson.Length} bytes; importers that allow {ManifestDocument.LargestImportable} will refuse it\n");
            await WriteConfigAsync(document).ConfigureAwait(false);
            await WriteManifestAsync(document).ConfigureAwait(false);
            manifest = document.Manifest;
        }
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["cache.manifest"] = System.Text.Encoding.UTF8.GetString(manifest.ToJson()),
        };

        ManifestDocument Document(MarshalledCache content) => ManifestDocument.Of(content, _oci, _asImage);

        Task WriteConfigAsync(ManifestDocument document) => progress.RunAsync($"writing config {document.Config.Digest}", () => RemoteCacheException.WrapAsync(
            "error writing config blob", () => target.WriteConfigAsync(document.Config, document.ConfigJson, cancellationToken)));

        Task WriteManifestAsync(ManifestDocument document) => progress.RunAsync(
            $"{(_asImage ? "writing cache image manifest" : "writing cache manifest")} {document.Manifest.Digest}", () => RemoteCacheException.WrapAsync(
                "error writing manifest blob", () => target.WriteManifestAsync(document.Manifest, document.ManifestJson, cancellationToken)));
    }
}
