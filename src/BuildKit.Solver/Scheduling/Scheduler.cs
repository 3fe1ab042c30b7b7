using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace BuildKit.Solver;

/// <summary>
/// The one loop that decides (spec 03 §3): messages come in from outside, edges that have news are looked at one
/// after another, work is started outside. All edge state belongs to this loop; there are no locks around edges.
/// </summary>
internal sealed class Scheduler : IAsyncDisposable
{
    private readonly GraphSolver _solver;
    private readonly ILogger _log;
    private readonly Channel<Action> _messages = Channel.CreateUnbounded<Action>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Queue<EdgeNode> _queue = new();
    private readonly HashSet<Pipe> _builds = [];
    private readonly EdgeIndex _index = new();
    private readonly Task _loop;
    private int _functions;

    public Scheduler(GraphSolver solver, ILogger log)
    {
        _solver = solver;
        _log = log;
        _loop = Task.Run(RunAsync);
    }

    /// <summary>How often every message was handled, every edge looked at and nothing was left to wait for although a
    /// build was open: always a defect. Such builds are failed instead of waiting for ever.</summary>
    public int Stalls { get; private set; }

    /// <summary>What the edge index holds; nothing once every edge is released.</summary>
    public int IndexedKeyCount => _index.Count;

    /// <summary>Completes when everything handed to the loop so far was handled.</summary>
    public Task FlushAsync()
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(done.SetResult);
        return done.Task;
    }

    /// <summary>Edges looked at so far.</summary>
    public long Dispatches { get; private set; }

    /// <summary>Brings an edge to completion. Cancelling winds the work down first, unless others wait for it too.</summary>
    /// <returns>The result, owned by the caller.</returns>
    public async Task<CachedResult> BuildAsync(Edge edge, CancellationToken cancellationToken)
    {
        var answer = new TaskCompletionSource<CachedResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        Pipe? pipe = null;
        Post(() =>
        {
            pipe = new Pipe(this, null)
            {
                Request = new EdgeRequest(EdgeStatus.Complete, null, 0),
                OnCompleted = status =>
                {
                    _builds.Remove(pipe!);
                    if (status.Error is not null)
                        answer.TrySetException(status.Error);
                    else if (status.Value is EdgeSnapshot { Result: { } result })
                        Answer(answer, result);
                    else
                        answer.TrySetException(new SchedulerException($"edge {Describe(edge)} completed without a result"));
                },
            };
            _builds.Add(pipe);
            Connect(pipe, edge);
        });
        using var registration = cancellationToken.UnsafeRegister(_ => Post(() => pipe!.Cancel()), null);
        try
        {
            return await answer.Task.ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(cancellationToken);
        }
    }

    /// <summary>Hands work to the loop.</summary>
    public void Post(Action message) => _messages.Writer.TryWrite(message);

    /// <summary>Lets an edge look at its news.</summary>
    public void Signal(EdgeNode edge)
    {
        if (edge.IsQueued)
            return;
        edge.IsQueued = true;
        _queue.Enqueue(edge);
    }

    /// <summary>Asks another edge on behalf of <paramref name="requester"/>.</summary>
    public Pipe Ask(EdgeNode requester, Edge edge, EdgeRequest request)
    {
        var pipe = new Pipe(this, requester) { Request = request };
        requester.Outgoing.Add(pipe);
        Connect(pipe, edge);
        return pipe;
    }

    /// <summary>Starts work outside the loop on behalf of <paramref name="requester"/>.</summary>
    public Pipe Start(EdgeNode requester, Func<CancellationToken, Task<object?>> work)
    {
        var pipe = new Pipe(this, requester) { Function = new CancellationTokenSource() };
        requester.Outgoing.Add(pipe);
        _functions++;
        _ = Task.Run(() => CompleteAsync(pipe, work), CancellationToken.None);
        return pipe;
    }

    /// <summary>Has the requester looked at once more, after everything that is queued now.</summary>
    public void Postpone(EdgeNode requester)
    {
        var pipe = new Pipe(this, requester);
        requester.Outgoing.Add(pipe);
        Post(() => pipe.Complete(null, null));
    }

    public async ValueTask DisposeAsync()
    {
        _messages.Writer.TryComplete();
        await _loop.ConfigureAwait(false);
    }

    private static void Answer(TaskCompletionSource<CachedResult> answer, CachedResult result)
    {
        try
        {
            answer.TrySetResult(result with { Result = result.Result?.Clone() });
        }
        catch (Exception e)
        {
            answer.TrySetException(e);
        }
    }

    private async Task CompleteAsync(Pipe pipe, Func<CancellationToken, Task<object?>> work)
    {
        object? value = null;
        Exception? error = null;
        try
        {
            value = await work(pipe.Function!.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            error = e;
        }
        Post(() =>
        {
            _functions--;
            pipe.Complete(value, error);
        });
    }

    private void Connect(Pipe pipe, Edge edge)
    {
        var provider = _solver.GetEdgeNode(edge);
        if (provider is null)
        {
            pipe.Complete(null, new SchedulerException($"failed to get edge: inconsistent graph state in edge {Describe(edge)}"));
            return;
        }
        pipe.Provider = provider;
        provider.Incoming.Add(pipe);
        Signal(provider);
    }

    private async Task RunAsync()
    {
        while (await _messages.Reader.WaitToReadAsync().ConfigureAwait(false))
        {
            while (true)
            {
                if (_messages.Reader.TryRead(out var message))
                    Handle(message);
                else if (_queue.TryDequeue(out var edge))
                    await DispatchAsync(edge).ConfigureAwait(false);
                else
                    break;
            }
            if (_builds.Count > 0 && _functions == 0 && !_messages.Reader.TryPeek(out _))
                FailStalledBuilds();
        }
    }

    private void Handle(Action message)
    {
        try
        {
            message();
        }
        catch (Exception e)
        {
            // The loop serves every build: a defect in one message must not end it.
            _log.LogCritical(e, "scheduler message failed");
        }
    }

    private async ValueTask DispatchAsync(EdgeNode edge)
    {
        edge.IsQueued = false;
        Dispatches++;
        var incoming = edge.Incoming.Where(p => !p.Sent.Completed).ToList();
        var outgoing = edge.Outgoing.Where(p => !p.Status.Completed).ToList();
        var updates = outgoing.Where(p => p.Receive()).ToList();
        edge.HasActiveOutgoing = outgoing.Exists(p => !p.Status.Completed);

        try
        {
            await edge.UnparkAsync(incoming, outgoing, updates).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            Fail(edge, e);
        }

        edge.Incoming.RemoveAll(p => p.Sent.Completed);
        edge.Outgoing.RemoveAll(p => p.Status.Completed);

        if (edge.KeysDidChange)
        {
            if (edge.Owner is null && !edge.IsReleased && edge.CurrentIndexKey() is { } key)
                TryMerge(edge, key);
            edge.KeysDidChange = false;
        }

        if (edge.Incoming.Count > 0 && edge.Outgoing.Count == 0)
            Fail(edge, new SchedulerException($"buildkit scheduler error: return leaving incoming open. edge {Describe(edge.Edge)}"));
        if (edge.Incoming.Count == 0 && edge.Outgoing.Exists(p => !p.IsCanceled))
        {
            Fail(edge, new SchedulerException($"buildkit scheduler error: return leaving outgoing open. edge {Describe(edge.Edge)}"));
            edge.Outgoing.ForEach(p => p.Cancel());
        }
    }

    private void TryMerge(EdgeNode edge, CacheKey key)
    {
        if (_index.LoadOrStore(key, edge) is not { } equal || equal == edge || equal.DependsOn(edge) || edge.DependsOn(equal))
            return;
        var (target, source) = (equal, edge);
        // Were the other way round possible too, edges would own each other in a circle.
        if (_solver.OwnsAnEdgeOf(source.State, target.State))
            (target, source) = (source, target);
        if (!target.IgnoreCache && source.IgnoreCache)
            return;
        // Their vertices may have been given up while the loop was busy.
        if (!_solver.TryInheritBuilds(source.State, target.State))
            return;

        foreach (var pipe in source.Incoming)
        {
            pipe.Provider = target;
            target.Incoming.Add(pipe);
        }
        foreach (var pipe in source.Outgoing)
        {
            pipe.Requester = target;
            target.Outgoing.Add(pipe);
            pipe.Cancel();
        }
        source.Incoming.Clear();
        source.Outgoing.Clear();
        target.TakeOver(source);
        Signal(target);
        _log.LogDebug("merged edge {Source} into {Target}", Describe(source.Edge), Describe(target.Edge));
    }

    /// <summary>Called by the solver when a vertex' state goes away.</summary>
    public void Release(EdgeNode edge) => Post(() => edge.Release(_index));

    private void Fail(EdgeNode edge, Exception error)
    {
        _log.LogError(error, "edge {Edge} failed in the scheduler", Describe(edge.Edge));
        edge.Error ??= error;
        if (edge.Outgoing.Count == 0)
            Postpone(edge);
    }

    private void FailStalledBuilds()
    {
        Stalls++;
        _log.LogError("scheduler stalled with {Count} open builds", _builds.Count);
        foreach (var pipe in _builds.ToList())
            pipe.Complete(null, new SchedulerException($"buildkit scheduler error: nothing left to do for edge {Describe(pipe.Provider!.Edge)}, which is not complete"));
    }

    private static string Describe(Edge edge) => $"{edge.Vertex.Name} {edge.Vertex.Digest} {edge.Index}";
}

/// <summary>The scheduler found itself in a state it must never be in.</summary>
public sealed class SchedulerException(string message) : Exception(message);
