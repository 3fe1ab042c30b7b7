using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>What an operation, a lookup or an export sees of the vertex it works for.</summary>
internal sealed class OperationContext(VertexState state) : IOperationContext
{
    public IProgressWriter Progress => state.Progress;

    public IEnumerable<string> SessionIds => state.Solver.SessionIdsOf(state);

    public IReadOnlyDictionary<object, object> GetCacheOptions(bool includeAncestors, IReadOnlyCollection<object> keys)
    {
        var found = new Dictionary<object, object>();
        foreach (var vertex in includeAncestors ? state.Solver.WalkInputs(state) : [state])
        {
            if (vertex.Client.Error.Length > 0)
                continue;
            foreach (var options in vertex.Operation.CacheOptions)
            {
                foreach (var key in keys)
                {
                    if (options.TryGetValue(key, out var value))
                        found.TryAdd(key, value);
                }
            }
            if (found.Count == keys.Count)
                break;
        }
        return found;
    }
}

/// <summary>The context of work that belongs to a build but to no vertex of its graph.</summary>
internal sealed class JobContext(Job job, IProgressWriter progress) : IOperationContext
{
    private static readonly Dictionary<object, object> None = [];

    public IProgressWriter Progress => progress;

    public IEnumerable<string> SessionIds => job.SessionId.Length > 0 ? [job.SessionId] : [];

    public IReadOnlyDictionary<object, object> GetCacheOptions(bool includeAncestors, IReadOnlyCollection<object> keys) => None;
}

/// <summary>Builds graphs as children of a running vertex and remembers their keys for cache export.</summary>
internal sealed class SubBuilder(VertexState parent) : ISubBuilder
{
    private readonly Lock _gate = new();
    private readonly List<ExportableCacheKey> _keys = [];

    public IReadOnlyList<ExportableCacheKey> Keys
    {
        get
        {
            lock (_gate)
                return [.. _keys];
        }
    }

    public async Task<CachedResult> BuildAsync(Edge edge, CancellationToken cancellationToken)
    {
        var result = await parent.Solver.BuildBelowAsync(parent, edge, cancellationToken).ConfigureAwait(false);
        lock (_gate)
            _keys.Add(result.Keys[0]);
        return result;
    }

    public IReadOnlyList<object> GetValues(string key) => parent.Solver.ValuesOf(parent, key);
}
