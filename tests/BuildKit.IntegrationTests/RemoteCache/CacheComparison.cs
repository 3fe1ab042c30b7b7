using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>Brings two exports of the same build to the same bytes, if they differ only in what may differ: times, the digests
/// of layers, and the order that follows from those.</summary>
internal static partial class CacheComparison
{
    private static readonly Rfc3339Time NoTime = Rfc3339Time.From(DateTimeOffset.MinValue);

    /// <summary>The config with every layer named after the record whose result it tops, without times.</summary>
    public static async Task<string> NormalizeAsync(CacheConfig config)
    {
        var names = new Dictionary<int, Digest>();
        for (var i = 0; i < config.Layers.Count; i++)
        {
            // What is below every result (a base image) is named after what lies on it.
            names[i] = Digest.Sha256(string.Join('\n', config.Records
                .Select((record, index) => (record, index))
                .SelectMany(r => r.record.Results.Select(result => (r.index, Depth: DepthTo(result.Layer, i))))
                .Where(r => r.Depth >= 0)
                .Select(r => $"{r.Depth} {Describe(r.index)}")
                .Order(StringComparer.Ordinal)));
        }
        var renamed = new CacheConfig(
            config.Layers.Select((layer, i) => layer with { Blob = names[i] }).ToList(),
            config.Records.Select(WithoutTimes).ToList());
        var blobs = names.Values.Distinct().ToDictionary(d => d, d => new LayerBlob(new Descriptor(MediaTypes.OciLayerGzip, d, 1), new Everything()));
        var written = await CacheMarshaller.MarshalAsync(CacheParser.Parse(renamed, blobs), default);
        return Text(written.Config);

        int DepthTo(int from, int layer)
        {
            for (var (i, depth) = (from, 0); i >= 0; (i, depth) = (config.Layers[i].Parent, depth + 1))
            {
                if (i == layer)
                    return depth;
            }
            return -1;
        }

        string Describe(int index)
        {
            var record = config.Records[index];
            var inputs = record.Inputs.Select(links => string.Join('|', links.Select(l => l.Selector + "/" + Describe(l.Link)).Order(StringComparer.Ordinal)));
            return $"{record.Digest}({string.Join(';', inputs)})";
        }
    }

    /// <summary>The records of an inline cache without times; their layers are positions in the image already.</summary>
    public static string NormalizeInline(CacheConfig config) =>
        Encoding.UTF8.GetString(CacheConfig.RecordsToJson(config.Records.Select(WithoutTimes).ToList())).Replace("},{", "},\n{", StringComparison.Ordinal);

    /// <summary>A manifest or index, a descriptor a line, without digests, sizes and times. Layers are sorted: their order follows
    /// from their digests.</summary>
    public static string NormalizeManifest(byte[] json)
    {
        var text = Time().Replace(Size().Replace(Hash().Replace(Encoding.UTF8.GetString(json), "sha256:…"), "\"size\":…"), "createdat\":\"…");
        var lines = text.Replace("{\"mediaType\"", "\n{\"mediaType\"", StringComparison.Ordinal).Replace("},\n", "}\n", StringComparison.Ordinal).Split('\n');
        var layers = new Queue<string>(lines.Where(IsLayer).Order(StringComparer.Ordinal));
        return string.Join('\n', lines.Select(line => IsLayer(line) ? layers.Dequeue() : line));

        static bool IsLayer(string line) => line.Contains("layer.v1", StringComparison.Ordinal) || line.Contains("rootfs", StringComparison.Ordinal);
    }

    /// <summary>A config, an entry a line.</summary>
    public static string Text(CacheConfig config) => Encoding.UTF8.GetString(config.ToJson()).Replace("},{", "},\n{", StringComparison.Ordinal);

    private static CacheConfigRecord WithoutTimes(CacheConfigRecord record) => record with
    {
        Results = record.Results.Select(r => r with { CreatedAt = NoTime }).ToList(),
        Chains = record.Chains.Select(c => c with { CreatedAt = NoTime }).ToList(),
    };

    [GeneratedRegex("sha256:[0-9a-f]{64}")]
    private static partial Regex Hash();

    [GeneratedRegex("\"size\": ?[0-9]+")]
    private static partial Regex Size();

    [GeneratedRegex("createdat\":\"[^\"]+")]
    private static partial Regex Time();

    private sealed class Everything : IBlobProvider
    {
        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            throw new InvalidOperationException("layers are not read here");

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
