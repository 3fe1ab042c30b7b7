using System.Diagnostics.CodeAnalysis;
using BuildKit.Oci;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BuildKit.Solver;

/// <summary>
/// Solves build graphs for many builds at once (spec 03). A build is a <see cref="Job"/>; vertices that several of
/// them contain are active once and executed once.
/// </summary>
/// <param name="resolver">Turns vertices into operations.</param>
/// <param name="defaultCache">The cache results are saved in.</param>
/// <param name="time">Clock of progress records, results and waiting times.</param>
/// <param name="logger">Where the solver tells what builds need not know.</param>
public sealed partial class GraphSolver(
    IOperationResolver resolver, ICacheManager defaultCache, TimeProvider time, ILogger<GraphSolver>? logger = null) : IAsyncDisposable
{
    private static readonly TimeSpan JobWait = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan JobLinger = TimeSpan.FromSeconds(10);

    private readonly ILogger _log = logger ?? NullLogger<GraphSolver>.Instance;
    private readonly Lock _gate = new();
    private readonly Dictionary<Digest, VertexState> _active = [];
    private readonly Dictionary<string, Job> _jobs = new(StringComparer.Ordinal);
    private readonly HashSet<Task> _disposals = [];
    private TaskCompletionSource _jobAdded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Scheduler? _scheduler;

    /// <summary>The cache results are saved in.</summary>
    public ICacheManager DefaultCache { get; } = defaultCache;

    /// <summary>Is told how steps come to their results; null for nobody.</summary>
    public ISolveObserver? Observer { get; init; }

    internal TimeProvider Time { get; } = time;

    internal Scheduler Scheduler
    {
        get
        {
            lock (_gate)
                return _scheduler ??= new Scheduler(this, _log);
        }
    }

    /// <summary>Vertices in use.</summary>
    public int ActiveVertexCount
    {
        get
        {
            lock (_gate)
                return _active.Count;
        }
    }

    /// <summary>Starts a build.</summary>
    /// <exception cref="JobExistsException">The id is in use.</exception>
    public Job NewJob(string id)
    {
        lock (_gate)
        {
            if (_jobs.ContainsKey(id))
                throw new JobExistsException(id);
            var job = new Job(this, id);
            _jobs[id] = job;
            _jobAdded.SetResult();
            _jobAdded = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return job;
        }
    }

    /// <summary>The build with an id, waiting up to 6 seconds for it to start. Builds that ended are found for another
    /// 10 seconds, so that their progress can still be read.</summary>
    /// <exception cref="JobNotFoundException">It did not start.</exception>
    public async Task<Job> GetJobAsync(string id, CancellationToken cancellationToken)
    {
        var deadline = Time.GetUtcNow() + JobWait;
        while (true)
        {
            Task added;
            lock (_gate)
            {
                if (_jobs.TryGetValue(id, out var job))
                    return job;
                added = _jobAdded.Task;
            }
            var left = deadline - Time.GetUtcNow();
            if (left <= TimeSpan.Zero)
                throw new JobNotFoundException(id);
            try
            {
                await added.WaitAsync(left, Time, cancellationToken).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                throw new JobNotFoundException(id);
            }
        }
    }

    /// <summary>Ends the loop. Builds must have ended.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_scheduler is not null)
            await _scheduler.DisposeAsync().ConfigureAwait(false);
        await WhenDisposedAsync().ConfigureAwait(false);
    }

    /// <summary>Waits until every result given up so far is disposed.</summary>
    internal async Task WhenDisposedAsync()
    {
        while (true)
        {
            Task[] pending;
            lock (_gate)
                pending = [.. _disposals];
            if (pending.Length == 0)
                return;
            await Task.WhenAll(pending).ConfigureAwait(false);
        }
    }

    internal async Task<CachedResult> BuildAsync(Job job, Edge edge, CancellationToken cancellationToken)
    {
        Vertex loaded;
        lock (_gate)
            loaded = Load(edge.Vertex, job, null);
        return await Scheduler.BuildAsync(edge with { Vertex = loaded }, cancellationToken).ConfigureAwait(false);
    }

    internal async Task<CachedResult> BuildBelowAsync(VertexState parent, Edge edge, CancellationToken cancellationToken)
    {
        Vertex loaded;
        lock (_gate)
        {
            if (!parent.IsActive)
                throw new InvalidOperationException($"inactive parent {parent.Digest}");
            loaded = Load(edge.Vertex, null, parent);
        }
        return await Scheduler.BuildAsync(edge with { Vertex = loaded }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Ends a build: gives up every vertex nobody else uses (spec 03 §1.2).</summary>
    internal void Discard(Job job)
    {
        lock (_gate)
        {
            foreach (var state in _active.Values.ToList())
            {
                state.Progress.Detach(job.Progress);
                if (state.Jobs.Remove(job))
                    DeleteIfUnused(state);
            }
        }
        _ = ForgetLaterAsync(job);
    }

    internal void DisposeLater(IResult result)
    {
        var task = Task.Run(async () =>
        {
            try
            {
                await result.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e)
            {
                _log.LogError(e, "releasing result {Result} failed", result.Id);
            }
        });
        lock (_gate)
            _disposals.Add(task);
        _ = task.ContinueWith(
            t =>
            {
                lock (_gate)
                    _disposals.Remove(t);
            }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
    }

    internal void Observe(Action<ISolveObserver> tell)
    {
        try
        {
            if (Observer is not null)
                tell(Observer);
        }
        catch (Exception e)
        {
            // Documented: who watches a build must not harm it.
            _log.LogError(e, "the solver's observer failed");
        }
    }

    internal async Task ObserveAsync(Func<ISolveObserver, Task> tell)
    {
        try
        {
            if (Observer is not null)
                await tell(Observer).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _log.LogError(e, "the solver's observer failed");
        }
    }

    internal void LogFailedLoad(Vertex vertex, CacheRecord record, Exception error) =>
        _log.LogDebug(error, "loading cache record {Record} of {Vertex} {Name} failed", record.Id, vertex.Digest, vertex.Name);

    private async Task ForgetLaterAsync(Job job)
    {
        await Task.Delay(JobLinger, Time).ConfigureAwait(false);
        lock (_gate)
            _jobs.Remove(job.Id);
    }

    private void DeleteIfUnused(VertexState state)
    {
        if (!state.IsActive || state.Jobs.Count > 0 || state.Parents.Count > 0)
            return;
        state.IsActive = false;
        _active.Remove(state.Digest);
        foreach (var child in state.Children)
        {
            child.Parents.Remove(state);
            DeleteIfUnused(child);
        }
        foreach (var edge in state.Edges.Values)
            _scheduler!.Release(edge);
        state.Operation.Release();
    }
}
