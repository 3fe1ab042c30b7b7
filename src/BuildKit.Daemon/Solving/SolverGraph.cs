using BuildKit.Llb;
using BuildKit.Solver;

namespace BuildKit.Daemon.Solving;

/// <summary>Turns loaded definitions into the solver's vertices.</summary>
internal static class SolverGraph
{
    /// <summary>The edge a definition stands for.</summary>
    /// <param name="graph">The loaded definition.</param>
    /// <param name="cacheSources">Imported caches that may answer for its steps, best first.</param>
    public static Edge ToEdge(LlbGraph graph, IReadOnlyList<ICacheManager> cacheSources)
    {
        var vertices = new Dictionary<LlbVertex, Vertex>(graph.Vertices.Count, ReferenceEqualityComparer.Instance);
        foreach (var vertex in graph.Vertices)
        {
            var inputs = new Edge[vertex.Inputs.Count];
            for (var i = 0; i < inputs.Length; i++)
                inputs[i] = new Edge(vertices[vertex.Inputs[i].Vertex], vertex.Inputs[i].Index);
            vertices.Add(vertex, new Vertex(vertex.Digest, vertex, inputs, vertex.Name, Options(vertex, cacheSources)));
        }
        return new Edge(vertices[graph.Result.Vertex], graph.Result.Index);
    }

    private static VertexOptions Options(LlbVertex vertex, IReadOnlyList<ICacheManager> cacheSources)
    {
        var metadata = vertex.Metadata;
        return new VertexOptions
        {
            IgnoreCache = metadata?.IgnoreCache ?? false,
            CacheSources = cacheSources,
            Description = metadata is null ? new Dictionary<string, string>(StringComparer.Ordinal) : new Dictionary<string, string>(metadata.Description, StringComparer.Ordinal),
            ExportCache = metadata?.ExportCache?.Value,
            ProgressGroup = metadata?.ProgressGroup is { } group ? new Solver.ProgressGroup(group.Id, group.Name, group.Weak) : null,
        };
    }
}
