namespace BuildKit.RemoteCache.Transfer;

/// <summary>Ends a request on which nothing moves any more. Whoever sees bytes move calls <see cref="Restart"/>.</summary>
internal sealed class SilenceLimit : IDisposable
{
    private readonly TimeSpan _limit;
    private readonly CancellationTokenSource _silent;
    private readonly CancellationTokenSource _linked;

    public SilenceLimit(TimeSpan limit, TimeProvider time, CancellationToken cancellationToken)
    {
        _limit = limit;
        _silent = new CancellationTokenSource(limit, time);
        _linked = CancellationTokenSource.CreateLinkedTokenSource(_silent.Token, cancellationToken);
    }

    /// <summary>Signalled when the limit is over or the caller gave up.</summary>
    public CancellationToken Token => _linked.Token;

    /// <summary>Whether the limit is over.</summary>
    public bool IsOver => _silent.IsCancellationRequested;

    public void Restart() => _silent.CancelAfter(_limit);

    /// <summary>No limit until <see cref="Restart"/>: the reader is busy elsewhere.</summary>
    public void Pause() => _silent.CancelAfter(Timeout.InfiniteTimeSpan);

    /// <summary>What happened, for users.</summary>
    public TransferException Error(string what) => new($"{what}: nothing came for {_limit.TotalSeconds.ToString(System.Globalization.CultureInfo.InvariantCulture)}s") { IsTransient = true };

    public void Dispose()
    {
        _linked.Dispose();
        _silent.Dispose();
    }
}
