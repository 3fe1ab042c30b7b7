using System.Collections.Concurrent;
using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>One build: what it asked for, its session and its progress. Discard it to give everything up.</summary>
public sealed class Job
{
    private readonly GraphSolver _solver;
    private readonly CancellationTokenSource _discarded = new();
    private readonly Lock _gate = new();
    private readonly HashSet<Task> _running = [];
    private Task? _discard;

    internal Job(GraphSolver solver, string id)
    {
        _solver = solver;
        Id = id;
        StartedAt = solver.Time.GetUtcNow();
        Progress = new JobProgress(solver.Time);
    }

    /// <summary>The client's build id.</summary>
    public string Id { get; }

    /// <summary>An id made by this daemon, unlike the client's never used twice (provenance).</summary>
    public string UniqueId { get; } = RandomId.New();

    /// <summary>The session that serves this build; empty for none. Set before the first build.</summary>
    public string SessionId { get; set; } = "";

    /// <summary>When the build started.</summary>
    public DateTimeOffset StartedAt { get; }

    /// <summary>When it was done: at the first call of <see cref="RegisterCompletion"/>, else when its progress was closed.</summary>
    public DateTimeOffset? CompletedAt { get; private set; }

    /// <summary>What the daemon keeps with the build: entitlements, source policy.</summary>
    public ConcurrentDictionary<string, object> Values { get; } = new(StringComparer.Ordinal);

    internal JobProgress Progress { get; }

    /// <summary>Where work that belongs to the build as a whole reports.</summary>
    public IProgressWriter ProgressWriter => Progress;

    /// <summary>Computes an edge, or finds it in a cache. The caller owns the result. Errors of operations carry a
    /// <see cref="VertexException"/> somewhere inside.</summary>
    public Task<CachedResult> BuildAsync(Edge edge, CancellationToken cancellationToken) =>
        RunAsync(token => _solver.BuildAsync(this, edge, token), cancellationToken);

    /// <summary>Operations that were resolved for a graph this build loaded, itself first, for provenance.</summary>
    public IReadOnlyList<(Vertex Vertex, IOperation Operation)> ResolvedOperations(Edge edge) => _solver.ResolvedOperations(edge);

    /// <summary>Runs work that is no vertex of the graph but is shown like one: exporting, importing, resolving an
    /// image config. The digest shown is the hash of <paramref name="id"/> (by default, of the name).</summary>
    public async Task<T> InContextAsync<T>(
        string name, Func<IOperationContext, CancellationToken, Task<T>> work, CancellationToken cancellationToken,
        string? id = null, ProgressGroup? group = null)
    {
        var digest = Digest.Sha256(id ?? name);
        var progress = new VertexProgress(digest);
        var vertex = new VertexStatusUpdate(
            digest, [], name, Cached: false, Started: _solver.Time.GetUtcNow(), Completed: null, Error: "", group);
        progress.Attach(Progress, vertex);
        try
        {
            var result = await work(new JobContext(this, progress), cancellationToken).ConfigureAwait(false);
            progress.Write(vertex with { Completed = _solver.Time.GetUtcNow() });
            return result;
        }
        catch (Exception e)
        {
            var text = cancellationToken.IsCancellationRequested ? "context canceled" : e.Message;
            progress.Write(vertex with { Completed = _solver.Time.GetUtcNow(), Error = text });
            throw;
        }
    }

    /// <summary>What happened so far and what happens until the build ends, with the steps that were not needed shown
    /// as cached (spec 03 §14). Any number of readers, attached at any time, see everything from the start.</summary>
    public IAsyncEnumerable<SolveStatus> StatusAsync(CancellationToken cancellationToken) => Progress.ReadAsync(cancellationToken);

    /// <summary>Ends the progress: readers finish once they have seen all of it.</summary>
    public void CloseProgress()
    {
        RegisterCompletion();
        Progress.Close();
    }

    /// <summary>Says that nothing but outputs is left to do; the time of the first call counts.</summary>
    public DateTimeOffset RegisterCompletion()
    {
        lock (_gate)
            return CompletedAt ??= _solver.Time.GetUtcNow();
    }

    /// <summary>Gives everything up: running builds are cancelled and waited for, vertices nobody else uses are
    /// released. The progress stays readable.</summary>
    public Task DiscardAsync()
    {
        lock (_gate)
            return _discard ??= DiscardOnceAsync();
    }

    private async Task DiscardOnceAsync()
    {
        await Task.Yield();
        await _discarded.CancelAsync().ConfigureAwait(false);
        Task[] running;
        lock (_gate)
            running = [.. _running];
        await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _solver.Discard(this);
        CloseProgress();
    }

    private async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _discarded.Token);
        Task<T> task;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_discard is not null, this);
            task = work(linked.Token);
            _running.Add(task);
        }
        try
        {
            return await task.ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
                _running.Remove(task);
        }
    }
}
