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

/// <summary>What an export is told of the document to write (spec 04 §6).</summary>
/// <param name="Oci">Types of OCI, not Docker's.</param>
/// <param name="AsImage">An image manifest, not an index.</param>
/// <param name="Merge">How the export joins what is there; null when it replaces it.</param>
internal sealed record ManifestForm(bool Oci, bool AsImage, MergeOptions? Merge)
{
    /// <summary>Reads attributes.</summary>
    /// <exception cref="FormatException">One of them cannot be read.</exception>
    public static ManifestForm Read(IReadOnlyDictionary<string, string> attributes) => new(
        CacheAttributes.Flag(attributes, "oci-mediatypes", fallback: true),
        CacheAttributes.Flag(attributes, "image-manifest", fallback: false),
        MergeOptions.Read(attributes, ManifestDocument.LargestImportable));
}

/// <summary>Writes a cache as an index or an image manifest (spec 04 §6): layers, config, then the document that names them.</summary>
internal sealed class ManifestCacheExport(
    string vertexName, CompressionOptions compression, ManifestForm form, CacheBackendContext context, IManifestTarget target) : ICacheExportBackend
{
    private readonly bool _oci = form.Oci;
    private readonly bool _asImage = form.AsImage;
    private readonly MergeOptions? _merge = form.Merge;

    public string VertexName => vertexName;

    public CompressionOptions Compression => compression;

    public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
    {
        if (cache.Config.Layers.Count == 0)
        {
            progress.Note("skipping cache export for empty result");
            return new Dictionary<string, string>(StringComparer.Ordinal);
        }
        if (_asImage && !_oci)
            throw new RemoteCacheException("invalid configuration for remote cache");
        foreach (var layer in cache.Config.Layers.Select(layer => layer.Blob).Concat(cache.Config.Mounts.Select(mount => mount.Blob)))
        {
            var descriptor = ManifestDocument.DescriptorOf(cache, layer);
            var provider = cache.Blobs[layer].Provider;
            await progress.RunAsync($"writing layer {layer}", () => RemoteCacheException.WrapAsync(
                "error writing layer blob",
                () => target.WriteLayerAsync(descriptor, token => provider.OpenAsync(descriptor, 0, token), progress.Log, cancellationToken))).ConfigureAwait(false);
        }

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
