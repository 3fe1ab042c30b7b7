using System.Collections.Immutable;

namespace BuildKit.Solver;

/// <summary>
/// The state machine of one vertex output (spec 03 §5). <see cref="UnparkAsync"/> is called with news; it takes them
/// in, answers what it can, and asks for what it still needs. Two promises hold whenever it returns: while a request
/// is open, something is under way that will wake the edge; when none is open, nothing is under way.
/// </summary>
internal sealed partial class EdgeNode
{
    private readonly Scheduler _scheduler;
    private readonly SharedOperation _operation;
    private readonly EdgeDependency[] _dependencies;
    private readonly Dictionary<Pipe, EdgeDependency> _requests = [];
    private readonly List<ExportableCacheKey> _keys = [];
    private readonly List<BuildKit.Oci.Digest> _mapDigests = [];
    private readonly Dictionary<string, CacheRecord> _records = new(StringComparer.Ordinal);
    private readonly HashSet<string> _recordsTried = new(StringComparer.Ordinal);
    private readonly List<FailedLoad> _failedLoads = [];
    private readonly HashSet<string> _combinedKeys = new(StringComparer.Ordinal);

    private EdgeStatus _status;
    private CachedResult? _result;
    private CacheMap? _map;
    private Pipe? _mapRequest;
    private bool _mapDone;
    private int _mapIndex;
    private Pipe? _execRequest;
    private string? _loadingRecord;

    private bool _noMatchPossible;
    private bool _allFast;
    private bool _allSlow;
    private bool _allStateSlow;
    private bool _allComplete;

    public EdgeNode(Scheduler scheduler, VertexState state, int index)
    {
        _scheduler = scheduler;
        State = state;
        _operation = state.Operation;
        Edge = new Edge(state.Vertex, index);
        _dependencies = state.Vertex.Inputs.Select((input, i) => new EdgeDependency(i, input)).ToArray();
    }

    public Edge Edge { get; }

    public VertexState State { get; }

    public bool IgnoreCache => Edge.Vertex.Options.IgnoreCache;

    /// <summary>Pipes of those who ask this edge.</summary>
    public List<Pipe> Incoming { get; } = [];

    /// <summary>Pipes by which this edge asks others.</summary>
    public List<Pipe> Outgoing { get; } = [];

    public bool IsQueued { get; set; }

    public bool HasActiveOutgoing { get; set; }

    /// <summary>The edge learned something that may make it equal to another one; merging is tried before work starts.</summary>
    public bool KeysDidChange { get; set; }

    /// <summary>Why the edge cannot complete; final.</summary>
    public Exception? Error { get; set; }

    /// <summary>The result is unusable or the error came of such a one: no other edge may join this one.</summary>
    public bool IsSpoiled { get; set; }

    /// <summary>Whether the result is there.</summary>
    public bool IsComplete => _result is not null;

    /// <summary>Whether the edge holds a lost result or failed because of one.</summary>
    public bool IsSpoiledBy(Func<IResult, bool> isLost, Func<Exception, bool> isLoss) =>
        (_result?.Result is { } result && isLost(result)) || (Error is { } error && isLoss(error));

    private CacheMapDependency? MapOf(EdgeDependency dependency) =>
        _map is not null && dependency.Index < _map.Dependencies.Count ? _map.Dependencies[dependency.Index] : null;

    private bool HasSlowDigest(EdgeDependency dependency) => MapOf(dependency)?.ComputeDigest is not null;

    private bool HasPreprocess(EdgeDependency dependency) => MapOf(dependency)?.Preprocess is not null;

    private BuildKit.Oci.Digest SelectorOf(EdgeDependency dependency) => MapOf(dependency)?.Selector ?? default;

    private EdgeSnapshot Snapshot() => new(_status, _result, _map, _keys, _keys.Count);

    /// <summary>Takes in news, answers, asks (spec 03 §5.1).</summary>
    public async ValueTask UnparkAsync(IReadOnlyList<Pipe> incoming, IReadOnlyList<Pipe> outgoing, IReadOnlyList<Pipe> updates)
    {
        var changed = false;
        foreach (var pipe in updates)
            changed |= await TakeInAsync(pipe).ConfigureAwait(false);
        if (changed)
            await RecalculateAsync().ConfigureAwait(false);

        var (desired, done) = Respond(incoming, outgoing);
        if (done)
            return;

        var asksForMap = false;
        if (_mapRequest is null && (_map is null || _records.Count == 0))
        {
            _mapRequest = StartCacheMap(_mapIndex);
            asksForMap = true;
        }
        if (_execRequest is null && desired == EdgeStatus.Complete && StartWorkIfPossible())
            return;
        if (_execRequest is null && !RequestInputs(desired, force: false) && !HasActiveOutgoing && !asksForMap)
            RequestInputs(desired, force: true);
    }

    /// <summary>Answers requests that can be answered (spec 03 §5.5). The wanted status, and whether nothing else is to do.</summary>
    private (EdgeStatus Desired, bool Done) Respond(IReadOnlyList<Pipe> incoming, IReadOnlyList<Pipe> outgoing)
    {
        var canComplete = true;
        var desired = _status;
        var allCanceled = true;
        if (Error is null && _result is null)
        {
            foreach (var pipe in incoming)
            {
                if (pipe.IsCanceled)
                    continue;
                allCanceled = false;
                if (desired >= pipe.Request.Desired)
                    continue;
                desired = pipe.Request.Desired;
                if (HasActiveOutgoing || desired == EdgeStatus.Complete || pipe.Request.KnownKeys >= _keys.Count)
                    canComplete = false;
            }
            if (!allCanceled && _status < EdgeStatus.Complete && _keys.Count == 0 && HasActiveOutgoing)
                canComplete = false;
        }

        if (canComplete && HasActiveOutgoing)
        {
            foreach (var pipe in outgoing)
                pipe.Cancel();
            // One request stays open until what was cancelled has ended.
            var last = incoming.FirstOrDefault(p => !p.IsCanceled) ?? (incoming.Count > 0 ? incoming[0] : null);
            foreach (var pipe in incoming)
            {
                if (pipe != last)
                    Answer(pipe);
            }
            return (desired, true);
        }
        if (canComplete)
        {
            foreach (var pipe in incoming)
                Answer(pipe);
            return (desired, true);
        }
        foreach (var pipe in incoming)
        {
            if (pipe.IsCanceled || (!HasActiveOutgoing && _status >= pipe.Request.Desired))
            {
                Answer(pipe);
                continue;
            }
            var current = Snapshot();
            if (!current.SameAs((EdgeSnapshot?)pipe.Sent.Value ?? pipe.Request.Known))
                pipe.Update(current);
        }
        return (desired, false);
    }

    private void Answer(Pipe pipe)
    {
        var error = Error;
        if (pipe.IsCanceled && error is null)
            error = new OperationCanceledException("context canceled");
        pipe.Complete(Snapshot(), error);
    }

    /// <summary>Loads the best record, or executes when all inputs are there (spec 03 §5.6).</summary>
    private bool StartWorkIfPossible()
    {
        if (_records.Count == 0 && !_allComplete)
            return false;
        if (KeysDidChange)
        {
            // An equal edge may already be doing this: let the merge be tried first.
            _scheduler.Postpone(this);
            return true;
        }
        if (_records.Count > 0)
        {
            StartLoad();
            foreach (var dependency in _dependencies)
                dependency.Request?.Cancel();
        }
        else
        {
            StartExecution();
        }
        return true;
    }

    /// <summary>Asks the inputs for what is needed next (spec 03 §5.7); true when something new was started.</summary>
    private bool RequestInputs(EdgeStatus desired, bool force)
    {
        var added = false;
        foreach (var dependency in _dependencies)
        {
            var wanted = force || _noMatchPossible ? EdgeStatus.Complete : WantedOf(dependency, desired);
            if (wanted > dependency.Status)
                added |= Request(dependency, wanted);
            if (dependency.Status == EdgeStatus.Complete && dependency.SlowRequest is null && _map is not null
                && (HasPreprocess(dependency) || HasSlowDigest(dependency)))
            {
                StartSlowDigest(dependency);
                added = true;
            }
        }
        return added;
    }

    private bool Request(EdgeDependency dependency, EdgeStatus wanted)
    {
        if (dependency.Request is { IsCanceled: false, Status.Completed: false } open)
        {
            if (open.Request.Desired == wanted)
                return false;
            open.Cancel();
        }
        var pipe = _scheduler.Ask(this, dependency.Edge, new EdgeRequest(wanted, dependency.LastSeen, dependency.Keys.Count));
        dependency.Request = pipe;
        _requests[pipe] = dependency;
        return true;
    }

    private EdgeStatus WantedOf(EdgeDependency dependency, EdgeStatus desired)
    {
        var noCandidates = dependency.Candidates.Count == 0;
        switch (dependency.Status)
        {
            case EdgeStatus.Initial when desired > EdgeStatus.Initial:
                return EdgeStatus.CacheFast;

            case EdgeStatus.CacheFast when desired > EdgeStatus.CacheFast:
                if ((_allFast && _keys.Count == 0) || noCandidates || AllDependenciesHave(candidates: true))
                    return _map is not null && !WaitsForUnmatched(dependency) ? EdgeStatus.CacheSlow : dependency.Status;
                break;

            case EdgeStatus.CacheSlow when desired == EdgeStatus.Complete && _map is not null:
                if ((noCandidates || _allSlow || (!WaitsForUnmatched(dependency) && HasSlowDigest(dependency))) && _records.Count == 0
                    && (noCandidates || !WaitsForUnmatchedContent(dependency)))
                    return EdgeStatus.Complete;
                break;

            case EdgeStatus.CacheSlow when desired == EdgeStatus.CacheSlow && _map is not null && HasSlowDigest(dependency):
                if (noCandidates || !WaitsForUnmatchedContent(dependency))
                    return EdgeStatus.Complete;
                break;
        }
        return dependency.Status;
    }

    /// <summary>Inputs that already match by definition are not evaluated while others without a match can be tried.</summary>
    private bool WaitsForUnmatched(EdgeDependency dependency)
    {
        if (dependency.Candidates.Count == 0)
            return false;
        return _map is null || Array.Exists(_dependencies, d => d.Candidates.Count == 0
            && (HasSlowDigest(d) ? !d.SlowDone : d.Status < EdgeStatus.Complete));
    }

    /// <summary>The same for the content digest of an input that already matches.</summary>
    private bool WaitsForUnmatchedContent(EdgeDependency dependency) =>
        HasSlowDigest(dependency) && !dependency.SlowDone && dependency.Candidates.Count > 0
        && Array.Exists(_dependencies, d => d.Candidates.Count == 0
            && ((HasSlowDigest(d) && !d.SlowDone) || d.Status < EdgeStatus.CacheSlow));

    private bool AllDependenciesHave(bool candidates) =>
        _map is not null && Array.TrueForAll(_dependencies, d =>
            (candidates ? d.Candidates.Count > 0 : d.Keys.Count > 0) || d.SlowKey is not null || d.Result is not null);

    /// <summary>One input as this edge sees it.</summary>
    private sealed class EdgeDependency(int index, Edge edge)
    {
        private readonly HashSet<string> _keyIds = new(StringComparer.Ordinal);

        public int Index { get; } = index;

        public Edge Edge { get; } = edge;

        public EdgeStatus Status { get; set; }

        public CachedResult? Result { get; set; }

        public EdgeSnapshot? LastSeen { get; set; }

        /// <summary>Keys of the input, in the order they were learned.</summary>
        public List<ExportableCacheKey> Keys { get; } = [];

        /// <summary>Keys of the asking edge that are reachable through this input, by id.</summary>
        public Dictionary<string, CacheKey> Candidates { get; } = new(StringComparer.Ordinal);

        public Pipe? Request { get; set; }

        public Pipe? SlowRequest { get; set; }

        public bool SlowDone { get; set; }

        public bool SlowFoundKey { get; set; }

        public ExportableCacheKey? SlowKey { get; set; }

        /// <summary>Adds what is new in a snapshot. By id, because after a merge another edge answers.</summary>
        public List<ExportableCacheKey> AddKeys(EdgeSnapshot snapshot)
        {
            List<ExportableCacheKey> added = [];
            for (var i = 0; i < snapshot.KeyCount; i++)
            {
                if (!_keyIds.Add(snapshot.Keys[i].Key.Id))
                    continue;
                Keys.Add(snapshot.Keys[i]);
                added.Add(snapshot.Keys[i]);
            }
            return added;
        }

        /// <summary>Every key this input contributes to a key of the asking edge.</summary>
        public IEnumerable<CacheKeyWithSelector> ResultKeys(BuildKit.Oci.Digest selector)
        {
            foreach (var key in Result!.Keys)
                yield return new CacheKeyWithSelector(key.Key, selector) { Exporter = key.Exporter };
            if (SlowKey is { } slow)
                yield return new CacheKeyWithSelector(slow.Key, default) { Exporter = slow.Exporter };
        }

        public IEnumerable<CacheKeyWithSelector> DefinitionKeys(BuildKit.Oci.Digest selector) =>
            Keys.Select(key => new CacheKeyWithSelector(key.Key, selector) { Exporter = key.Exporter });
    }
}
