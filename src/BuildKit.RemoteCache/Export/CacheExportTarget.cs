using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Export;

/// <summary>What the solver's export walk fills: a growing graph of records. One export uses one target for all its results,
/// so that several platforms share a graph. Not for concurrent use.</summary>
public sealed class CacheExportTarget : ICacheExporterTarget
{
    private readonly Dictionary<object, IReadOnlyList<ICacheExporterRecord>> _visited = new(ReferenceEqualityComparer.Instance);
    private readonly List<CacheNode> _nodes = [];

    /// <summary>Records added so far.</summary>
    public IReadOnlyList<CacheNode> Nodes => _nodes;

    /// <inheritdoc/>
    public ICacheExporterRecord Add(Digest digest)
    {
        var node = new CacheNode(digest, isDiscarded: digest.Algorithm == "random");
        _nodes.Add(node);
        return new Record(node);
    }

    /// <inheritdoc/>
    public bool TryGetVisited(object exporter, out IReadOnlyList<ICacheExporterRecord> records) => _visited.TryGetValue(exporter, out records!);

    /// <inheritdoc/>
    public void Visit(object exporter, IReadOnlyList<ICacheExporterRecord> records) => _visited[exporter] = records;

    /// <summary>Normalises and writes what was added.</summary>
    public Task<MarshalledCache> MarshalAsync(CancellationToken cancellationToken) => CacheMarshaller.MarshalAsync(_nodes, cancellationToken);

    private sealed class Record(CacheNode node) : ICacheExporterRecord
    {
        private CacheNode Node { get; } = node;

        public void AddResult(Digest vertex, int output, DateTimeOffset createdAt, object remote)
        {
            if (!Node.IsDiscarded)
                Node.Results.Add(new CacheNodeResult((RemoteLayers)remote, Rfc3339Time.From(createdAt.ToUniversalTime())));
        }

        public void LinkFrom(ICacheExporterRecord source, int input, Digest selector) => Node.LinkFrom(((Record)source).Node, input, selector);
    }
}
