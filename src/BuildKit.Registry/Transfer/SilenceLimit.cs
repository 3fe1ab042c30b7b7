using System.Globalization;

namespace BuildKit.Registry.Transfer;

/// <summary>Ends a request on which nothing moves any more. Whoever sees bytes move calls <see cref="Restart"/>. Safe for
/// concurrent use; calls after it was disposed do nothing, because a request's body may outlive its answer.</summary>
public sealed class SilenceLimit : IDisposable
{
    private readonly Lock _gate = new();
    private readonly TimeSpan _limit;
    private readonly CancellationTokenSource _silent;
    private readonly CancellationTokenSource _linked;
    private bool _isDisposed;

    /// <summary>Starts the clock.</summary>
    /// <param name="limit">How long nothing may move.</param>
    /// <param name="time">Clock of the limit.</param>
    /// <param name="cancellationToken">The caller's own.</param>
    public SilenceLimit(TimeSpan limit, TimeProvider time, CancellationToken cancellationToken)
    {
        _limit = limit;
        _silent = new CancellationTokenSource(limit, time);
        _linked = CancellationTokenSource.CreateLinkedTokenSource(_silent.Token, cancellationToken);
        Token = _linked.Token;
    }

    /// <summary>Signalled when the limit is over or the caller gave up.</summary>
    public CancellationToken Token { get; }

    /// <summary>Whether the limit is over.</summary>
    public bool IsOver => _silent.IsCancellationRequested;

    /// <summary>What happened, for users.</summary>
    public string Reason => string.Create(CultureInfo.InvariantCulture, $"timed out: nothing came for {_limit.TotalSeconds}s");

    /// <summary>Something moved: the limit counts from now.</summary>
    public void Restart() => EndAfter(_limit);

    /// <summary>No limit until <see cref="Restart"/>: the reader is busy elsewhere.</summary>
    public void Pause() => EndAfter(Timeout.InfiniteTimeSpan);

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
            _isDisposed = true;
        _linked.Dispose();
        _silent.Dispose();
    }

    private void EndAfter(TimeSpan limit)
    {
        lock (_gate)
        {
            if (!_isDisposed)
                _silent.CancelAfter(limit);
        }
    }
}
