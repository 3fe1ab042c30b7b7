using System.Collections.Immutable;
using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>The work an edge starts, and how edges become one (spec 03 §5.8, §6).</summary>
internal sealed partial class EdgeNode
{
    private readonly List<CachedResult> _inheritedResults = [];
    private int _extraOwners;
    private ImmutableArray<SecondaryKey> _secondaryKeys = [];

    /// <summary>The edge this one was merged into.</summary>
    public EdgeNode? Owner { get; private set; }

    public bool IsReleased { get; private set; }

    /// <summary>Keys by which merged edges reach the same result; read by exporters at any time.</summary>
    public ImmutableArray<SecondaryKey> SecondaryKeys => _secondaryKeys;

    /// <summary>The context exports load results in.</summary>
    public OperationContext Context => _operation.Context;

    private Pipe StartCacheMap(int index)
    {
        var cache = State.Cache;
        return _scheduler.Start(this, async cancellationToken =>
        {
            CacheMapResponse response;
            try
            {
                response = await _operation.GetCacheMapAsync(index, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                throw new SolveException($"failed to load cache key: {e.Message}", e);
            }
            // Imports resolve in the background; the lookups that follow happen inside the loop and must not wait.
            await cache.WhenReadyAsync(cancellationToken).ConfigureAwait(false);
            return response;
        });
    }

    private void StartSlowDigest(EdgeDependency dependency)
    {
        var map = MapOf(dependency)!;
        var input = dependency.Result!.Result;
        var observed = Observed();
        dependency.SlowRequest = _scheduler.Start(this, async cancellationToken =>
        {
            try
            {
                return await _operation.ComputeSlowDigestAsync(dependency.Index, map, input, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                if (observed is not null)
                    State.Solver.Observe(observer => observer.OnContentUnreadable(observed, dependency.Index, e));
                throw new SolveException($"failed to compute cache key: {e.Message}", e);
            }
        });
    }

    private void StartLoad()
    {
        var record = _records.Values.OrderByDescending(r => r.CreatedAt).ThenByDescending(r => r.Priority).ThenBy(r => r.Id, StringComparer.Ordinal).First();
        _recordsTried.Add(record.Id);
        _loadingRecord = record.Id;
        var cache = State.Cache;
        var observed = Observed();
        _execRequest = _scheduler.Start(this, async cancellationToken =>
        {
            try
            {
                var result = await _operation.LoadAsync(cache, record, cancellationToken).ConfigureAwait(false);
                if (observed is not null && !ReferenceEquals(record.Manager, State.Solver.DefaultCache))
                    await State.Solver.ObserveAsync(observer => observer.OnImportedAsync(observed, record, result)).ConfigureAwait(false);
                return new CachedResult(result, [new ExportableCacheKey(record.Key, new KeyExporter(record.Key) { Record = record, Edge = this })]);
            }
            catch (Exception e) when (e is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                State.LogFailedLoad(record, e);
                throw new SolveException($"failed to load cache: {e.Message}", e);
            }
        });
    }

    private void StartExecution()
    {
        var inputs = _dependencies.Select(d => d.Result!.Result).ToList();
        var keys = _dependencies.Length == 0
            ? _mapDigests.Select(digest => CacheKey.Root(digest, Edge.Index)).ToList()
            : [new CacheKey(_map!.Digest, Edge.Index, _dependencies.Select(KnownKeys).ToList())];
        var cache = State.Cache;
        _loadingRecord = null;
        var observed = Observed();
        _execRequest = _scheduler.Start(this, async cancellationToken =>
        {
            var result = await _operation.ExecuteAsync(Edge.Index, inputs, observed, cancellationToken).ConfigureAwait(false);
            try
            {
                var children = _operation.SubBuildKeys;
                List<ExportableCacheKey> exportable = [];
                foreach (var key in keys)
                {
                    var saved = await cache.SaveAsync(key, result, State.Time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
                    var record = (saved.Exporter as KeyExporter)?.Record;
                    ICacheExporter own = record is null ? saved.Exporter : new KeyExporter(saved.Key) { Record = record, Edge = this };
                    exportable.Add(new ExportableCacheKey(saved.Key, new MergedExporter([own, .. children.Select(c => c.Exporter)])));
                }
                return new CachedResult(result, exportable);
            }
            catch
            {
                if (result is not null)
                    await result.DisposeAsync().ConfigureAwait(false);
                throw;
            }
        });
    }

    /// <summary>What is known of this edge's step now, for the observer; null when there is none.</summary>
    private ObservedStep? Observed()
    {
        if (State.Solver.Observer is null)
            return null;
        return new ObservedStep
        {
            Vertex = State.Vertex,
            Operation = _operation.ResolvedOperation,
            OperationDigest = _map?.Digest ?? default,
            MapDigests = _dependencies.Length == 0 ? [.. _mapDigests] : _map is null ? [] : [_map.Digest],
            Inputs = [.. _dependencies.Select(d => new ObservedInput(
                MapOf(d), d.Result?.Result, [.. (d.Result?.Keys ?? d.Keys).Concat(d.Result is null ? [] : d.Keys).Select(k => k.Key)], d.SlowKey?.Key.Digest ?? default))],
            FailedLoads = [.. _failedLoads],
            Builds = () => State.Solver.BuildIdsOf(State),
        };
    }

    /// <summary>The key equal edges are found by; null while not every input has one (spec 03 §6).</summary>
    public CacheKey? CurrentIndexKey()
    {
        if (_map is null || !Array.TrueForAll(_dependencies, d => d.Keys.Count > 0 || d.Result is not null))
            return null;
        return new CacheKey(_map.Digest, Edge.Index, _dependencies.Select(EveryKey).ToList());
    }

    private IReadOnlyList<CacheKeyWithSelector> EveryKey(EdgeDependency dependency)
    {
        var selector = SelectorOf(dependency);
        var keys = dependency.DefinitionKeys(selector);
        return dependency.Result is null ? [.. keys] : [.. keys, .. dependency.ResultKeys(selector)];
    }

    /// <summary>Whether this edge is computed from the other one's vertex, or belongs to the same vertex.</summary>
    public bool DependsOn(EdgeNode other)
    {
        var visited = new HashSet<Digest>();
        var pending = new Stack<Vertex>([Edge.Vertex]);
        while (pending.TryPop(out var vertex))
        {
            if (vertex.Digest == other.Edge.Vertex.Digest)
                return true;
            if (!visited.Add(vertex.Digest))
                continue;
            foreach (var input in vertex.Inputs)
                pending.Push(input.Vertex);
        }
        return false;
    }

    /// <summary>Becomes the owner of an equal edge.</summary>
    public void TakeOver(EdgeNode source)
    {
        var secondary = _secondaryKeys.ToBuilder();
        foreach (var dependency in source._dependencies)
        {
            foreach (var key in source.EveryKey(dependency))
                secondary.Add(new SecondaryKey(dependency.Index, key));
        }
        ImmutableInterlocked.InterlockedExchange(ref _secondaryKeys, secondary.ToImmutable());
        source.Owner = this;
        _extraOwners += source._extraOwners + 1;
        // Consumers may still read the result they were given: it lives as long as the owner.
        if (source._result is not null)
            _inheritedResults.Add(source._result);
        _inheritedResults.AddRange(source._inheritedResults);
        source._inheritedResults.Clear();
        source._result = null;
        source.IsReleased = true;
    }

    /// <summary>Called once for every vertex state that had this edge; the last call frees the result.</summary>
    public void Release(EdgeIndex index)
    {
        var edge = this;
        while (edge.Owner is not null)
            edge = edge.Owner;
        if (edge != this)
            index.Remove(this);
        if (edge._extraOwners > 0)
        {
            edge._extraOwners--;
            return;
        }
        if (edge.IsReleased)
            return;
        edge.IsReleased = true;
        index.Remove(edge);
        State.DisposeLater(edge._result?.Result);
        foreach (var result in edge._inheritedResults)
            State.DisposeLater(result.Result);
        edge._inheritedResults.Clear();
    }

    /// <summary>A key of one of a merged edge's inputs.</summary>
    public readonly record struct SecondaryKey(int Input, CacheKeyWithSelector Key);
}
