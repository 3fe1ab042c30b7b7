using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// One vertex that some build is using, shared by all of them (spec 03 §1). The sets and the edges belong to the
/// solver's lock.
/// </summary>
internal sealed class VertexState
{
    private readonly Lock _gate = new();
    private readonly List<ICacheManager> _extraCaches = [];
    private ICacheManager? _cache;

    public VertexState(GraphSolver solver, Vertex vertex, Digest originalDigest, IOperationResolver resolver)
    {
        Solver = solver;
        Vertex = vertex;
        OriginalDigest = originalDigest;
        Client = new VertexStatusUpdate(
            vertex.Digest, vertex.Inputs.Select(i => i.Vertex.Digest).ToList(), vertex.Name, Cached: false,
            Started: null, Completed: null, Error: "", vertex.Options.ProgressGroup);
        Progress = new VertexProgress(vertex.Digest);
        Operation = new SharedOperation(this, resolver);
    }

    public GraphSolver Solver { get; }

    /// <summary>The vertex under its effective digest, with loaded inputs.</summary>
    public Vertex Vertex { get; }

    public Digest Digest => Vertex.Digest;

    /// <summary>The digest the client knows.</summary>
    public Digest OriginalDigest { get; }

    public TimeProvider Time => Solver.Time;

    public SharedOperation Operation { get; }

    public VertexProgress Progress { get; }

    /// <summary>What clients see now.</summary>
    public VertexStatusUpdate Client { get; private set; }

    public HashSet<Job> Jobs { get; } = [];

    public HashSet<VertexState> Parents { get; } = [];

    public HashSet<VertexState> Children { get; } = [];

    public Dictionary<int, EdgeNode> Edges { get; } = [];

    /// <summary>States whose edges took over edges of this one.</summary>
    public HashSet<VertexState> MergedInto { get; } = [];

    public bool IsActive { get; set; } = true;

    /// <summary>Its result cannot be had any more: loading the vertex again makes a new state.</summary>
    public bool IsSpoiled { get; set; }

    /// <summary>The caches that may answer for this vertex, as one.</summary>
    public ICacheManager Cache
    {
        get
        {
            lock (_gate)
                return _cache ??= _extraCaches.Count == 0 ? Solver.DefaultCache : new CombinedCacheManager(Solver.DefaultCache, [.. _extraCaches]);
        }
    }

    public IReadOnlyList<ICacheManager> ExtraCaches
    {
        get
        {
            lock (_gate)
                return [.. _extraCaches];
        }
    }

    /// <summary>Adds a cache source, unless one with the same id is there.</summary>
    public void AddCache(ICacheManager cache)
    {
        lock (_gate)
        {
            if (cache.Id == Solver.DefaultCache.Id || _extraCaches.Exists(c => c.Id == cache.Id))
                return;
            _extraCaches.Add(cache);
            _cache = null;
        }
    }

    public void ReportStarted(bool cached)
    {
        lock (_gate)
        {
            Client = Client with { Started = Time.GetUtcNow(), Completed = null, Cached = cached, Error = "" };
            Progress.Write(Client);
        }
    }

    public void ReportCompleted(bool cached, string? error)
    {
        lock (_gate)
        {
            var now = Time.GetUtcNow();
            Client = Client with { Started = Client.Started ?? now, Completed = now, Cached = cached, Error = error ?? "" };
            Progress.Write(Client);
        }
    }

    /// <summary>Disposes outside the caller's thread: it may touch disks.</summary>
    public void DisposeLater(IResult? result)
    {
        if (result is not null)
            Solver.DisposeLater(result);
    }

    public void LogFailedLoad(CacheRecord record, Exception error) => Solver.LogFailedLoad(Vertex, record, error);
}
