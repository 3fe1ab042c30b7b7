using System.Globalization;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;

namespace BuildKit.Scale;

/// <summary>Cache configs of a given size.</summary>
internal static class Imports
{
    private const int ChainCount = 100;

    /// <summary>The JSON of a config with <paramref name="count"/> records in a hundred chains, each record with one layer of its
    /// own; <paramref name="target"/> is the graph of the first chain.</summary>
    public static byte[] Config(int count, out Vertex target)
    {
        var created = Rfc3339Time.Parse("2026-01-02T03:04:05Z");
        var length = count / ChainCount;
        List<CacheConfigLayer> layers = [];
        List<CacheConfigRecord> records = [];
        for (var chain = 0; chain < ChainCount; chain++)
        {
            for (var i = 0; i < length; i++)
            {
                var index = records.Count;
                layers.Add(new CacheConfigLayer(
                    Digest.Sha256(string.Create(CultureInfo.InvariantCulture, $"blob {index}")), -1,
                    new CacheLayerAnnotations(MediaTypes.OciLayerGzip, Digest.Sha256("diff"), 1, created)));
                records.Add(new CacheConfigRecord(CacheKey.RecordDigest(Digest.Sha256(NameOf(chain, i)), 0))
                {
                    Results = [new CacheConfigResult(index, created)],
                    Inputs = i == 0 ? [] : [[new CacheConfigLink("", index - 1)]],
                });
            }
        }
        target = Graphs.Chain("chain 0", length);
        return new CacheConfig(layers, records).ToJson();
    }

    /// <summary>The same graph, answered by an import too.</summary>
    public static Vertex WithImport(Vertex target, ICacheManager import)
    {
        var chain = new Stack<Vertex>();
        for (var vertex = target; ; vertex = vertex.Inputs[0].Vertex)
        {
            chain.Push(vertex);
            if (vertex.Inputs.Count == 0)
                break;
        }
        Vertex? made = null;
        foreach (var vertex in chain)
        {
            made = vertex with
            {
                Inputs = made is null ? [] : [new Edge(made, 0)],
                Options = vertex.Options with { CacheSources = [import] },
            };
        }
        return made!;
    }

    private static string NameOf(int chain, int step) => string.Create(CultureInfo.InvariantCulture, $"chain {chain} {step}");
}
