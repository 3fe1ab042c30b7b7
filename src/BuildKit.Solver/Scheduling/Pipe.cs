namespace BuildKit.Solver;

/// <summary>
/// Links one who asks with one who answers (spec 03 §3). Touched only by the scheduler's loop. What was sent becomes
/// visible to the requester when it receives.
/// </summary>
internal sealed class Pipe(Scheduler scheduler, EdgeNode? requester)
{
    private static readonly PipeStatus Nothing = new(null, null, Completed: false, Canceled: false);
    private bool _hasNews;

    /// <summary>The edge that asked; null for a build from outside.</summary>
    public EdgeNode? Requester { get; set; } = requester;

    /// <summary>The edge that answers; null for functions.</summary>
    public EdgeNode? Provider { get; set; }

    /// <summary>What is asked of an edge.</summary>
    public EdgeRequest Request { get; init; }

    /// <summary>Cancels a function.</summary>
    public CancellationTokenSource? Function { get; init; }

    /// <summary>Called when a build's pipe is completed.</summary>
    public Action<PipeStatus>? OnCompleted { get; init; }

    /// <summary>The provider's last word.</summary>
    public PipeStatus Sent { get; private set; } = Nothing;

    /// <summary>What the requester has seen.</summary>
    public PipeStatus Status { get; private set; } = Nothing;

    /// <summary>The requester does not want an answer any more.</summary>
    public bool IsCanceled { get; private set; }

    /// <summary>Takes what was sent; true when it is new.</summary>
    public bool Receive()
    {
        if (!_hasNews)
            return false;
        _hasNews = false;
        Status = Sent;
        return true;
    }

    public void Update(object value) => Send(new PipeStatus(value, null, Completed: false, Canceled: false));

    public void Complete(object? value, Exception? error) =>
        Send(new PipeStatus(value, error, Completed: true, Canceled: IsCanceled && error is OperationCanceledException));

    public void Cancel()
    {
        if (IsCanceled || Sent.Completed)
            return;
        IsCanceled = true;
        // Callbacks of the token must not run inside the loop.
        if (Function is not null)
            _ = Function.CancelAsync();
        if (Provider is not null)
            scheduler.Signal(Provider);
    }

    private void Send(PipeStatus status)
    {
        if (Sent.Completed)
            return;
        Sent = status;
        _hasNews = true;
        if (Requester is not null)
            scheduler.Signal(Requester);
        else if (status.Completed)
            OnCompleted?.Invoke(status);
    }
}

/// <summary>A provider's word: a value so far, and whether it is the last.</summary>
internal sealed record PipeStatus(object? Value, Exception? Error, bool Completed, bool Canceled);

/// <summary>What is asked of an edge, and what the requester knows already.</summary>
internal readonly record struct EdgeRequest(EdgeStatus Desired, EdgeSnapshot? Known, int KnownKeys);

/// <summary>How far an edge has come (spec 03 §5).</summary>
internal enum EdgeStatus
{
    /// <summary>Nothing is known.</summary>
    Initial,

    /// <summary>All keys derivable from definitions are known.</summary>
    CacheFast,

    /// <summary>All keys, those from content included, are known.</summary>
    CacheSlow,

    /// <summary>The result is there.</summary>
    Complete,
}

/// <summary>An edge as it was at one moment. <paramref name="Keys"/> only grows; <paramref name="KeyCount"/> of it count.</summary>
internal sealed record EdgeSnapshot(
    EdgeStatus Status, CachedResult? Result, CacheMap? Map, IReadOnlyList<ExportableCacheKey> Keys, int KeyCount)
{
    public bool SameAs(EdgeSnapshot? other) =>
        other is not null && Status == other.Status && ReferenceEquals(Result, other.Result)
        && ReferenceEquals(Map, other.Map) && ReferenceEquals(Keys, other.Keys) && KeyCount == other.KeyCount;
}
