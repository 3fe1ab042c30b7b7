using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Session.Content;
using BuildKit.Solver;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>A place that takes blobs and a manifest.</summary>
internal interface IManifestTarget
{
    /// <summary>Makes sure a blob is there; repeats on errors that may pass, telling the log.</summary>
    /// <param name="descriptor">The blob.</param>
    /// <param name="open">Opens its bytes; called once per attempt.</param>
    /// <param name="sent">Receives the bytes sent so far.</param>
    /// <param name="log">Receives the lines about repetitions.</param>
    /// <param name="cancellationToken">Ends the transfer.</param>
    Task WriteLayerAsync(
        Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, IProgress<long> sent, Action<string> log, CancellationToken cancellationToken);

    /// <summary>Writes the config; repeats as for layers.</summary>
    Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken);

    /// <summary>Writes the document that names the others, last; repeats as for layers.</summary>
    Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken);
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
    private const int LayersAtOnce = 4;

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
        // Each blob once: the same one may be the layer of several chains.
        var layers = cache.Config.Layers.Select(layer => layer.Blob).Concat(cache.Config.Mounts.Select(mount => mount.Blob)).Distinct()
            .Select(layer => ManifestDocument.DescriptorOf(cache, layer)).ToList();
        await Parallel.ForEachAsync(layers, new ParallelOptions { MaxDegreeOfParallelism = LayersAtOnce, CancellationToken = cancellationToken }, async (descriptor, token) =>
        {
            var provider = cache.Blobs[descriptor.Digest].Provider;
            await progress.RunAsync($"writing layer {descriptor.Digest}", descriptor.Size, sent => RemoteCacheException.WrapAsync(
                "error writing layer blob",
                () => target.WriteLayerAsync(descriptor, stop => provider.OpenAsync(descriptor, 0, stop), sent, progress.Log, token))).ConfigureAwait(false);
        }).ConfigureAwait(false);

        Descriptor manifest;
        if (_merge is not null && target is IJoinableTarget joinable)
            manifest = await new ManifestMerge(joinable, _merge, context.Turns, context.Time, progress.Log)
                .JoinAsync(cache, Document, WriteConfigAsync, (document, expected) => MoveAsync(joinable, document, expected), cancellationToken).ConfigureAwait(false);
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
            [ContentStores.CacheManifestKey] = System.Text.Encoding.UTF8.GetString(manifest.ToJson()),
        };

        ManifestDocument Document(MarshalledCache content) => ManifestDocument.Of(content, _oci, _asImage);

        Task WriteConfigAsync(ManifestDocument document) => progress.RunAsync($"writing config {document.Config.Digest}", () => RemoteCacheException.WrapAsync(
            "error writing config blob", () => target.WriteConfigAsync(document.Config, document.ConfigJson, progress.Log, cancellationToken)));

        Task WriteManifestAsync(ManifestDocument document) => InProgressAsync(document, () => target.WriteManifestAsync(document.Manifest, document.ManifestJson, progress.Log, cancellationToken));

        async Task<MoveOutcome> MoveAsync(IJoinableTarget joinable, ManifestDocument document, IReadOnlyCollection<Digest> expected)
        {
            var outcome = MoveOutcome.Changed;
            await InProgressAsync(document, async () =>
                outcome = await joinable.MoveAsync(CacheTag.Main, document.Manifest, document.ManifestJson, expected, looked: null, cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
            return outcome;
        }

        Task InProgressAsync(ManifestDocument document, Func<Task> write) => progress.RunAsync(
            $"{(_asImage ? "writing cache image manifest" : "writing cache manifest")} {document.Manifest.Digest}", () => RemoteCacheException.WrapAsync("error writing manifest blob", write));
    }
}
