using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>Turns a vertex into the operation that computes it. Called at most once per active vertex.</summary>
public interface IOperationResolver
{
    /// <summary>The operation of a vertex.</summary>
    /// <exception cref="Exception">The vertex holds something no worker can do; fails the edge.</exception>
    IOperation Resolve(Vertex vertex, ISubBuilder subBuilder);
}

/// <summary>Lets a running operation build further graphs as its children (BuildOp, gateway).</summary>
public interface ISubBuilder
{
    /// <summary>Builds an edge below the running vertex; its key is remembered for cache export.</summary>
    Task<CachedResult> BuildAsync(Edge edge, CancellationToken cancellationToken);

    /// <summary>What the builds that wait for the running vertex keep under a key (<see cref="Job.Values"/>).</summary>
    IReadOnlyList<object> GetValues(string key);
}

/// <summary>
/// What a vertex does. The solver calls each member at most once at a time and shares the answer between
/// all builds that wait for the same vertex (spec 03 §4). Cancellation means nobody waits any more: return
/// promptly, release whatever was made.
/// </summary>
public interface IOperation
{
    /// <summary>Cache map number <paramref name="index"/>. More maps are asked for, while nothing matched,
    /// until one says it is the last.</summary>
    Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken);

    /// <summary>Does the work. Inputs are borrowed; the results, one per output, belong to the caller.</summary>
    Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken);

    /// <summary>Waits for a slot of the worker's parallelism; disposed when execution ends. Null when the
    /// operation needs no slot.</summary>
    ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken);
}

/// <summary>One cache map and whether it is the last.</summary>
public readonly record struct CacheMapResponse(CacheMap Map, bool Complete);

/// <summary>How an operation's cache keys derive from its inputs (spec 03 §8).</summary>
public sealed record CacheMap
{
    /// <summary>Digest of what the operation does, inputs excluded.</summary>
    public required Digest Digest { get; init; }

    /// <summary>One entry per vertex input.</summary>
    public required IReadOnlyList<CacheMapDependency> Dependencies { get; init; }

    /// <summary>Values that records found or loaded under this map may need, by key
    /// (for example a lazy layer's provider by digest).</summary>
    public IReadOnlyDictionary<object, object> Options { get; init; } = new Dictionary<object, object>();
}

/// <summary>How one input takes part in the key.</summary>
public sealed record CacheMapDependency
{
    /// <summary>Which part of the input is used; empty digest when all of it.</summary>
    public Digest Selector { get; init; }

    /// <summary>Computes a digest of the input's content; null when only its definition counts.</summary>
    public Func<IOperationContext, IResult?, CancellationToken, Task<Digest>>? ComputeDigest { get; init; }

    /// <summary>Lists what <see cref="ComputeDigest"/> looked at, from what is remembered of it, without reading anything
    /// again. Opaque to the solver (<c>ContentListing</c> of BuildKit.Storage); null when only the definition counts.</summary>
    public Func<IResult?, CancellationToken, Task<object>>? ListContent { get; init; }

    /// <summary>Makes the input's result usable (un-lazies it) before content is read or the operation runs.</summary>
    public Func<IOperationContext, IResult?, CancellationToken, Task>? Preprocess { get; init; }
}

/// <summary>What the solver offers an operation while it works.</summary>
public interface IOperationContext
{
    /// <summary>Progress of the vertex, fanned out to every build that waits for it.</summary>
    IProgressWriter Progress { get; }

    /// <summary>Session ids that may serve this work: those of the vertex' builds, then of their parents', each once.
    /// The list is evaluated anew at each enumeration.</summary>
    IEnumerable<string> SessionIds { get; }

    /// <summary>Cache options of this vertex and, if asked, of its inputs, depth first; the first value for a key wins.</summary>
    IReadOnlyDictionary<object, object> GetCacheOptions(bool includeAncestors, IReadOnlyCollection<object> keys);
}
