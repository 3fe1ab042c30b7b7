using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// One step of a build graph as the solver sees it: a digest, the edges it consumes and an opaque
/// operation. Identity is the object; equality of steps is decided by <see cref="Digest"/>.
/// </summary>
/// <param name="Digest">Digest of the step's definition (spec 03 §2).</param>
/// <param name="Operation">What the step does; only the <see cref="IOperationResolver"/> looks inside.</param>
/// <param name="Inputs">Edges consumed, in input order.</param>
/// <param name="Name">What people see.</param>
/// <param name="Options">Everything that is not part of the digest.</param>
public sealed record Vertex(Digest Digest, object Operation, IReadOnlyList<Edge> Inputs, string Name, VertexOptions Options);

/// <summary>Output <paramref name="Index"/> of a vertex.</summary>
public readonly record struct Edge(Vertex Vertex, int Index);

/// <summary>Per-vertex settings that do not change its digest.</summary>
public sealed record VertexOptions
{
    /// <summary>Never answer from cache, and never look a key up.</summary>
    public bool IgnoreCache { get; init; }

    /// <summary>Imported caches that may answer for this vertex, best first.</summary>
    public IReadOnlyList<ICacheManager> CacheSources { get; init; } = [];

    /// <summary>Free-form description, for example <c>llb.customname</c>.</summary>
    public IReadOnlyDictionary<string, string> Description { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Whether cache export may add this vertex' record; null leaves it to the exporter.</summary>
    public bool? ExportCache { get; init; }

    /// <summary>Group under which clients fold this vertex.</summary>
    public ProgressGroup? ProgressGroup { get; init; }
}

/// <summary>A named group of vertices in progress output.</summary>
public sealed record ProgressGroup(string Id, string Name, bool Weak);
