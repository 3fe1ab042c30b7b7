using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Export;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Inline;

/// <summary>The records that travel inside an image's config (spec 04 §8.1). There a layer number is a position in the image.</summary>
public static class InlineCache
{
    /// <summary>Key of the records in the image config; the value is base64 text.</summary>
    public const string ConfigKey = "moby.buildkit.cache.v0";

    private const string DiffIdAnnotation = "containerd.io/uncompressed";

    /// <summary>The bytes to put under <see cref="ConfigKey"/> for an image, or null when no record has its layers in it.</summary>
    /// <param name="target">What the export walk (mode min) of this image's result filled.</param>
    /// <param name="imageLayers">Blobs of the image's layers, base first.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async Task<byte[]?> CreateAsync(CacheExportTarget target, IReadOnlyList<Digest> imageLayers, CancellationToken cancellationToken)
    {
        var all = await target.MarshalAsync(cancellationToken).ConfigureAwait(false);
        var own = all.Blobs
            .Where(b => imageLayers.Contains(b.Key) || imageLayers.Any(l => b.Value.Descriptor.Annotations.GetValueOrDefault(DiffIdAnnotation) == l.ToString()))
            .ToDictionary(b => b.Key, b => b.Value);
        if (own.Count == 0)
            return null;
        var (config, _) = await CacheMarshaller.MarshalAsync(CacheParser.Parse(all.Config, own), cancellationToken).ConfigureAwait(false);
        if (config.Layers.Count == 0)
            return null;
        return CacheConfig.RecordsToJson(config.Records.Select(record => ToPositions(record, config, own, imageLayers)).ToList());
    }

    /// <summary>Puts records into an image config; top-level keys come out sorted.</summary>
    public static byte[] AddToConfig(ReadOnlyMemory<byte> imageConfig, ReadOnlyMemory<byte> records)
    {
        var config = RawJsonObject.Parse(imageConfig);
        config.Set(ConfigKey, writer => writer.WriteBase64(records.Span));
        return config.ToJson();
    }

    /// <summary>The cache inside an image, with its layers completed by what the image config knows of them; null when there is
    /// none or config and manifest disagree.</summary>
    public static (CacheConfig Config, IReadOnlyList<Descriptor> Layers)? ReadFromImage(
        IReadOnlyList<Descriptor> layers, ReadOnlyMemory<byte> imageConfig, Action<string>? log)
    {
        if (RawJsonObject.Parse(imageConfig).Get(ConfigKey) is not { } value)
            return null;
        using var text = JsonDocument.Parse(value);
        if (text.RootElement.ValueKind != JsonValueKind.String || !text.RootElement.TryGetBytesFromBase64(out var records))
        {
            log?.Invoke($"warning: {ConfigKey} of the image is no base64 text, ignored\n");
            return null;
        }
        var image = ImageConfig.Parse(imageConfig);
        if (image.DiffIds.Count != layers.Count)
        {
            log?.Invoke($"warning: image has {layers.Count} layers and {image.DiffIds.Count} diff ids, its cache is ignored\n");
            return null;
        }
        var history = image.History.Where(h => !h.EmptyLayer).ToList();
        List<Descriptor> completed = [];
        for (var i = 0; i < layers.Count; i++)
        {
            var annotations = new Dictionary<string, string>(layers[i].Annotations, StringComparer.Ordinal) { [DiffIdAnnotation] = image.DiffIds[i].ToString() };
            if (i < history.Count && history[i].Created is { } created)
                annotations["buildkit/createdat"] = created.ToString();
            if (i < history.Count && history[i].CreatedBy.Length > 0)
                annotations["buildkit/description"] = history[i].CreatedBy;
            completed.Add(layers[i] with { Annotations = annotations });
        }
        return (new CacheConfig(layers.Select((l, i) => new CacheConfigLayer(l.Digest, i - 1)).ToList(), CacheConfig.ParseRecords(records)), completed);
    }

    private static CacheConfigRecord ToPositions(
        CacheConfigRecord record, CacheConfig config, Dictionary<Digest, LayerBlob> blobs, IReadOnlyList<Digest> imageLayers)
    {
        List<CacheConfigResult> prefixes = [];
        List<CacheConfigChain> chains = [];
        foreach (var result in record.Results)
        {
            List<Digest> chain = [];
            for (var i = result.Layer; i >= 0; i = config.Layers[i].Parent)
                chain.Insert(0, config.Layers[i].Blob);
            if (chain.Count <= imageLayers.Count && chain.Select((blob, p) => IsLayer(blob, imageLayers[p])).All(same => same))
            {
                prefixes.Add(new CacheConfigResult(chain.Count - 1, result.CreatedAt));
                continue;
            }
            var positions = chain.ConvertAll(PositionOf);
            if (!positions.Contains(-1))
                chains.Add(new CacheConfigChain(positions, Rfc3339Time.From(DateTimeOffset.MinValue)));
        }
        return record with { Results = prefixes, Chains = chains };

        bool IsLayer(Digest blob, Digest layer) => blob == layer || blobs[blob].Descriptor.Annotations.GetValueOrDefault(DiffIdAnnotation) == layer.ToString();

        int PositionOf(Digest blob)
        {
            for (var i = 0; i < imageLayers.Count; i++)
            {
                if (IsLayer(blob, imageLayers[i]))
                    return i;
            }
            return -1;
        }
    }
}

/// <summary>An inline export: written by the image exporter with <see cref="InlineCache"/>, not as an export of its own.</summary>
public sealed class InlineCacheExport : ICacheExportBackend
{
    /// <inheritdoc/>
    public string VertexName => "exporting inline cache";

    /// <summary>Unused: the image exporter's compression counts.</summary>
    public CompressionOptions Compression => CompressionOptions.Default;

    /// <inheritdoc/>
    public Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("an inline cache is written by the image exporter");
}
