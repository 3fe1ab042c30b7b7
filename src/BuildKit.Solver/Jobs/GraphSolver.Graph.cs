using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>The active vertices: how graphs are loaded, and the questions asked about them (spec 03 §1.1, §6).</summary>
public sealed partial class GraphSolver
{
    /// <summary>The node of an edge, following merges; null when its vertex is not active.</summary>
    internal EdgeNode? GetEdgeNode(Edge edge)
    {
        lock (_gate)
        {
            if (!_active.TryGetValue(edge.Vertex.Digest, out var state))
                return null;
            if (!state.Edges.TryGetValue(edge.Index, out var node))
                state.Edges[edge.Index] = node = new EdgeNode(_scheduler!, state, edge.Index);
            while (node.Owner is not null)
                node = node.Owner;
            return node;
        }
    }

    /// <summary>Whether an edge of <paramref name="state"/> belongs, over any number of merges, to <paramref name="owner"/>.</summary>
    internal bool OwnsAnEdgeOf(VertexState owner, VertexState state)
    {
        lock (_gate)
        {
            foreach (var edge in state.Edges.Values)
            {
                for (var node = edge.Owner; node is not null; node = node.Owner)
                {
                    if (node.State == owner)
                        return true;
                }
            }
            return false;
        }
    }

    /// <summary>Lets the target of a merge, and everything it is computed from, live as long as the source's builds.
    /// False when one of them is not active any more.</summary>
    internal bool TryInheritBuilds(VertexState source, VertexState target)
    {
        lock (_gate)
        {
            if (!source.IsActive || !target.IsActive)
                return false;
            source.MergedInto.Add(target);
            Inherit(target, source.Jobs, source.Parents);
            source.Progress.Follow(target.Progress);
            return true;
        }
    }

    internal IEnumerable<string> SessionIdsOf(VertexState state) =>
        JobsOf(state).Select(job => job.SessionId).Where(id => id.Length > 0).Distinct(StringComparer.Ordinal).ToList();

    internal IReadOnlyList<object> ValuesOf(VertexState state, string key) =>
        JobsOf(state).Select(job => job.Values.GetValueOrDefault(key)).OfType<object>().ToList();

    /// <summary>The builds that wait for a state: its own, then those of its parents, each once.</summary>
    private List<Job> JobsOf(VertexState state)
    {
        var jobs = new HashSet<Job>();
        List<Job> ordered = [];
        lock (_gate)
        {
            var visited = new HashSet<VertexState>();
            Collect(state);

            void Collect(VertexState s)
            {
                if (!visited.Add(s))
                    return;
                ordered.AddRange(s.Jobs.Where(jobs.Add));
                foreach (var parent in s.Parents)
                    Collect(parent);
            }
        }
        return ordered;
    }

    /// <summary>Ids of the builds a state works for, those of its parents included.</summary>
    internal IReadOnlyList<string> BuildIdsOf(VertexState state)
    {
        var ids = new SortedSet<string>(StringComparer.Ordinal);
        lock (_gate)
        {
            var visited = new HashSet<VertexState>();
            var pending = new Stack<VertexState>([state]);
            while (pending.TryPop(out var next))
            {
                if (!visited.Add(next))
                    continue;
                ids.UnionWith(next.Jobs.Select(job => job.Id));
                foreach (var parent in next.Parents)
                    pending.Push(parent);
            }
        }
        return [.. ids];
    }

    /// <summary>A state and those of its inputs, depth first, each original digest once.</summary>
    internal IReadOnlyList<VertexState> WalkInputs(VertexState start)
    {
        List<VertexState> states = [];
        var visited = new HashSet<Digest>();
        // Not by recursion: a graph may be deeper than a thread's stack.
        var pending = new Stack<VertexState>([start]);
        lock (_gate)
        {
            while (pending.TryPop(out var state))
            {
                if (!visited.Add(state.OriginalDigest))
                    continue;
                states.Add(state);
                for (var i = state.Vertex.Inputs.Count - 1; i >= 0; i--)
                {
                    if (_active.TryGetValue(state.Vertex.Inputs[i].Vertex.Digest, out var below))
                        pending.Push(below);
                }
            }
        }
        return states;
    }

    /// <summary>Operations resolved so far for a graph, for provenance.</summary>
    internal IReadOnlyList<(Vertex Vertex, IOperation Operation)> ResolvedOperations(Edge edge)
    {
        VertexState? state;
        lock (_gate)
        {
            // The caller holds its own vertex; the active one may stand under the ignore-cache digest.
            if (!_active.TryGetValue(edge.Vertex.Digest, out state) && !_active.TryGetValue(IgnoreCacheDigest(edge.Vertex.Digest), out state))
                return [];
        }
        return WalkInputs(state)
            .Select(s => (s.Vertex, s.Operation.ResolvedOperation))
            .Where(s => s.ResolvedOperation is not null)
            .Select(s => (s.Vertex, s.ResolvedOperation!))
            .ToList();
    }

    private static Digest IgnoreCacheDigest(Digest digest) => Digest.Sha256($"{digest}-ignorecache");

    /// <summary>Makes a graph active, inputs first; its vertices under their effective digests. Not by recursion: a graph may
    /// be deeper than a thread's stack.</summary>
    private Vertex Load(Vertex top, Job? job, VertexState? parent)
    {
        var loaded = new Dictionary<Vertex, Vertex>(ReferenceEqualityComparer.Instance);
        var pending = new Stack<Vertex>([top]);
        while (pending.TryPeek(out var vertex))
        {
            var waits = false;
            for (var i = vertex.Inputs.Count - 1; i >= 0; i--)
            {
                if (loaded.ContainsKey(vertex.Inputs[i].Vertex))
                    continue;
                pending.Push(vertex.Inputs[i].Vertex);
                waits = true;
            }
            if (waits)
                continue;
            pending.Pop();
            if (!loaded.ContainsKey(vertex))
                loaded[vertex] = Load(vertex, [.. vertex.Inputs.Select(input => input with { Vertex = loaded[input.Vertex] })], job, parent);
        }
        return loaded[top];
    }

    private Vertex Load(Vertex vertex, IReadOnlyList<Edge> inputs, Job? job, VertexState? parent)
    {
        var ignoring = IgnoreCacheDigest(vertex.Digest);
        if (!_active.TryGetValue(ignoring, out var state) && _active.TryGetValue(vertex.Digest, out state)
            && !state.Vertex.Options.IgnoreCache && vertex.Options.IgnoreCache)
        {
            // A vertex that must run anew never joins one that may be answered from cache.
            state = null;
            state = Activate(vertex with { Digest = ignoring, Inputs = inputs }, vertex.Digest);
        }
        while (state is { IsSpoiled: true })
        {
            var renewed = Digest.Sha256($"{state.Digest}-renewed");
            if (!_active.TryGetValue(renewed, out state))
                state = Activate(vertex with { Digest = renewed, Inputs = inputs }, vertex.Digest);
        }
        state ??= Activate(vertex with { Inputs = inputs }, vertex.Digest);

        foreach (var source in vertex.Options.CacheSources)
            state.AddCache(source);
        // An active vertex may have been loaded with inputs that run anew, or do not, unlike the ones just loaded.
        var inputsDiffer = !state.Vertex.Inputs.Select(i => i.Vertex.Digest).SequenceEqual(inputs.Select(i => i.Vertex.Digest));
        if (job is not null)
            Inherit(state, [job], [], inputsDiffer);
        if (parent is not null)
        {
            Inherit(state, [], [parent], inputsDiffer);
            foreach (var cache in parent.ExtraCaches)
                state.AddCache(cache);
        }
        ConnectProgress(state, job, parent);
        return state.Vertex;
    }

    private VertexState Activate(Vertex vertex, Digest originalDigest)
    {
        var state = new VertexState(this, vertex, originalDigest, resolver);
        _active[vertex.Digest] = state;
        _scheduler ??= new Scheduler(this, _log);
        return state;
    }

    /// <summary>Adds builds and parents to a state, to those its edges were merged into and, for those, to all inputs.</summary>
    private void Inherit(VertexState start, IEnumerable<Job> jobs, IEnumerable<VertexState> parents, bool inputsToo = true)
    {
        List<Job> jobList = [.. jobs];
        List<VertexState> parentList = [.. parents];
        var visited = new HashSet<VertexState>();
        var pending = new Stack<VertexState>([start]);
        while (pending.TryPop(out var state))
        {
            if (!state.IsActive || !visited.Add(state))
                continue;
            state.Jobs.UnionWith(jobList);
            foreach (var parent in parentList)
            {
                if (parent == state)
                    continue;
                state.Parents.Add(parent);
                parent.Children.Add(state);
            }
            foreach (var target in state.MergedInto)
                pending.Push(target);
            if (!inputsToo && state == start)
                continue;
            foreach (var input in state.Vertex.Inputs)
            {
                if (_active.TryGetValue(input.Vertex.Digest, out var below))
                    pending.Push(below);
            }
        }
    }

    private static void ConnectProgress(VertexState state, Job? job, VertexState? parent)
    {
        if (job is not null)
            state.Progress.Attach(job.Progress, state.Client);
        if (parent is null)
            return;
        var visited = new HashSet<VertexState>();
        Connect(parent);

        void Connect(VertexState above)
        {
            if (!visited.Add(above))
                return;
            foreach (var owner in above.Jobs)
                state.Progress.Attach(owner.Progress, state.Client);
            foreach (var next in above.Parents)
                Connect(next);
        }
    }
}
