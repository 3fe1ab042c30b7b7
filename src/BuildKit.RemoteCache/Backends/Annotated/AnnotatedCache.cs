using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Annotated;

/// <summary>Cache configs of stores without manifests: each layer entry itself says what its blob is (spec 04 §2, §8.4 to §8.6).</summary>
internal static class AnnotatedCache
{
    private const string DiffIdAnnotation = "containerd.io/uncompressed";
    private const string CreatedAtAnnotation = "buildkit/createdat";

    /// <summary>Writes the layers, several at once, then the config with its annotations.</summary>
    /// <param name="cache">The export.</param>
    /// <param name="progress">Where it is reported.</param>
    /// <param name="layersAtOnce">How many layers are written at the same time.</param>
    /// <param name="writeLayer">Makes sure that a layer is there.</param>
    /// <param name="writeConfig">Writes the config.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>Nothing that clients are told.</returns>
    /// <exception cref="RemoteCacheException">A blob is unknown, or what importers must know of it is missing.</exception>
    public static async Task<IReadOnlyDictionary<string, string>> WriteAsync(
        MarshalledCache cache, CacheProgress progress, int layersAtOnce, Func<LayerBlob, CancellationToken, ValueTask> writeLayer, Func<byte[], Task> writeConfig, CancellationToken cancellationToken)
    {
        var options = new ParallelOptions { MaxDegreeOfParallelism = layersAtOnce, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(Blobs(cache), options, writeLayer).ConfigureAwait(false);
        var json = Annotate(cache).ToJson();
        await progress.RunAsync($"writing config {Digest.Sha256(json)}", async () =>
        {
            await writeConfig(json).ConfigureAwait(false);
            return true;
        }).ConfigureAwait(false);
        return new Dictionary<string, string>(StringComparer.Ordinal);
    }

    /// <summary>Replaces a config by what is made of it, on condition that it still is what was read.</summary>
    /// <param name="name">The config's name in errors.</param>
    /// <param name="change">Makes the new cache from the one that is there (null for none); null leaves it.</param>
    /// <param name="read">Reads what is there; null when nothing is.</param>
    /// <param name="tryWrite">Writes if the tag (null: nothing) still is the one that was read; false when it is not.</param>
    /// <param name="time">Clock of the pauses.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    public static Task ReplaceAsync(
        string name, Func<MarshalledCache?, Task<MarshalledCache?>> change, Func<Task<StoredConfig?>> read, Func<byte[], string?, Task<bool>> tryWrite,
        TimeProvider time, CancellationToken cancellationToken) => ConditionalMerge.RunAsync(
            name,
            async there => await change(there?.Cache).ConfigureAwait(false) is { } changed ? Annotate(changed).ToJson() : null,
            read, tryWrite, time, cancellationToken);

    /// <summary>A config of which only the records are used, as it was read together with the tag of its state; null for none.</summary>
    /// <exception cref="FormatException">The bytes are no config.</exception>
    /// <exception cref="RemoteCacheException">An entry does not say what its blob is.</exception>
    public static StoredConfig? Stored((byte[] Bytes, string ETag)? found) =>
        found is var (bytes, tag) ? new StoredConfig(Read(bytes, NoBlobs.Instance), bytes, tag) : null;

    /// <summary>The config with its annotations.</summary>
    public static CacheConfig Annotate(MarshalledCache cache) => cache.Config with
    {
        Layers = [.. cache.Config.Layers.Select(layer => layer with { Annotations = AnnotationsOf(cache.Blobs[layer.Blob].Descriptor) })],
    };

    /// <summary>A config with annotations and its blobs.</summary>
    /// <exception cref="FormatException">The bytes are no config.</exception>
    /// <exception cref="RemoteCacheException">An entry does not say what its blob is.</exception>
    public static MarshalledCache Read(ReadOnlyMemory<byte> json, IBlobProvider provider)
    {
        var config = CacheConfig.Parse(json);
        return new MarshalledCache(config, BlobsOf(config, provider)).With(CacheMountLayer.In(config, provider));
    }

    /// <summary>The blobs of a config by digest.</summary>
    /// <exception cref="RemoteCacheException">An entry does not say what its blob is.</exception>
    public static IReadOnlyDictionary<Digest, LayerBlob> BlobsOf(CacheConfig config, IBlobProvider provider)
    {
        var blobs = new Dictionary<Digest, LayerBlob>();
        foreach (var layer in config.Layers)
        {
            var known = layer.Annotations ?? throw new RemoteCacheException("cache layer with missing annotations");
            if (known.DiffId.IsEmpty)
                throw new RemoteCacheException("cache layer with missing diffid");
            var annotations = new Dictionary<string, string>(StringComparer.Ordinal) { [DiffIdAnnotation] = known.DiffId.ToString() };
            if (known.CreatedAt > Rfc3339Time.From(DateTimeOffset.MinValue))
                annotations[CreatedAtAnnotation] = known.CreatedAt.ToString();
            if (known.TocDigest.Length > 0)
                annotations[EStargzAnnotations.TocDigest] = known.TocDigest;
            if (known.UncompressedSize.Length > 0)
                annotations[EStargzAnnotations.UncompressedSize] = known.UncompressedSize;
            blobs[layer.Blob] = new LayerBlob(new Descriptor(known.MediaType, layer.Blob, known.Size) { Annotations = annotations }, provider);
        }
        return blobs;
    }

    /// <summary>The blobs a config names, each once, in the order of its entries.</summary>
    /// <exception cref="RemoteCacheException">A blob is unknown, or what importers must know of it is missing.</exception>
    private static List<LayerBlob> Blobs(MarshalledCache cache)
    {
        List<LayerBlob> blobs = [];
        foreach (var digest in cache.Layers)
        {
            if (!cache.Blobs.TryGetValue(digest, out var blob))
                throw new RemoteCacheException($"missing blob {digest}");
            _ = DiffIdOf(blob.Descriptor);
            blobs.Add(blob);
        }
        return blobs;
    }

    private static CacheLayerAnnotations AnnotationsOf(Descriptor descriptor)
    {
        var createdAt = descriptor.Annotations.TryGetValue(CreatedAtAnnotation, out var text)
            ? Rfc3339Time.Parse(text) with { OffsetMinutes = 0 }
            : Rfc3339Time.From(DateTimeOffset.MinValue);
        return new CacheLayerAnnotations(descriptor.MediaType, DiffIdOf(descriptor), descriptor.Size, createdAt)
        {
            TocDigest = descriptor.Annotations.GetValueOrDefault(EStargzAnnotations.TocDigest, ""),
            UncompressedSize = descriptor.Annotations.GetValueOrDefault(EStargzAnnotations.UncompressedSize, ""),
        };
    }

    private static Digest DiffIdOf(Descriptor descriptor)
    {
        if (descriptor.Annotations.Count == 0)
            throw new RemoteCacheException("invalid descriptor without annotations");
        if (!descriptor.Annotations.TryGetValue(DiffIdAnnotation, out var text))
            throw new RemoteCacheException("invalid descriptor without uncompressed annotation");
        return Digest.TryParse(text, out var diffId)
            ? diffId
            : throw new RemoteCacheException($"failed to parse uncompressed annotation: invalid checksum digest format: {text}");
    }
}
