using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.Daemon.Attesting;

/// <summary>Collects the layers that are known for the outputs of steps (spec 07 §9.3 "layers"), from an export of the
/// result's keys that makes nothing.</summary>
internal sealed class StepLayers : ICacheExporterTarget
{
    private readonly Dictionary<object, IReadOnlyList<ICacheExporterRecord>> _visited = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<(Digest Vertex, int Output), List<IReadOnlyList<Descriptor>>> _chains = [];

    /// <summary>The layers of a result's steps.</summary>
    public static async Task<StepLayers> CollectAsync(CachedResult result, CancellationToken cancellationToken)
    {
        var layers = new StepLayers();
        var options = new CacheExportOptions
        {
            Mode = CacheExportMode.RemoteOnly,
            ExportRoots = true,
            IgnoreBacklinks = true,
            ResolveRemotes = (_, _) => Task.FromResult<IReadOnlyList<object>>([]),
        };
        await result.Keys[0].Exporter.ExportToAsync(layers, options, cancellationToken);
        return layers;
    }

    /// <summary>Chains of layers by step and output, as provenance names them; steps that are not in the definition are left
    /// out.</summary>
    public SortedDictionary<string, IReadOnlyList<IReadOnlyList<Descriptor>>> Of(BuildSteps steps)
    {
        var named = new SortedDictionary<string, IReadOnlyList<IReadOnlyList<Descriptor>>>(ByteOrder.Instance);
        foreach (var ((vertex, output), chains) in _chains)
        {
            if (steps.NameOf(vertex.ToString()) is { } step)
                named.Add($"{step}:{output}", chains);
        }
        return named;
    }

    /// <inheritdoc/>
    public ICacheExporterRecord Add(Digest digest) => new Record(this);

    /// <inheritdoc/>
    public bool TryGetVisited(object exporter, out IReadOnlyList<ICacheExporterRecord> records)
    {
        records = [];
        if (!_visited.TryGetValue(exporter, out var known))
            return false;
        records = known;
        return true;
    }

    /// <inheritdoc/>
    public void Visit(object exporter, IReadOnlyList<ICacheExporterRecord> records) => _visited[exporter] = records;

    private void Add(Digest vertex, int output, RemoteLayers remote)
    {
        if (vertex.IsEmpty || remote.Descriptors.Count == 0)
            return;
        if (!_chains.TryGetValue((vertex, output), out var chains))
            _chains[(vertex, output)] = chains = [];
        if (chains.Exists(chain => chain.Select(layer => layer.Digest).SequenceEqual(remote.Descriptors.Select(layer => layer.Digest))))
            return;
        chains.Add([.. remote.Descriptors.Select(layer => layer with { Annotations = ManifestAssembly.Layer(layer, oci: true).Annotations })]);
    }

    private sealed class Record(StepLayers owner) : ICacheExporterRecord
    {
        public void AddResult(Digest vertex, int output, DateTimeOffset createdAt, object remote) => owner.Add(vertex, output, (RemoteLayers)remote);

        public void LinkFrom(ICacheExporterRecord source, int input, Digest selector)
        {
            // Which key is made of which is the cache's concern.
        }
    }
}
