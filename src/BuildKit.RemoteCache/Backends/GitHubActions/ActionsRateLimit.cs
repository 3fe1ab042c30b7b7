using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>Patience with a service that answers 429: all requests of the daemon wait together, one second after the first
/// refusal and twice as long after each further one, at most 90 seconds; never less than the service asked for. Any other
/// answer ends the waiting. Safe for concurrent use.</summary>
internal sealed class ActionsRateLimit
{
    private static readonly TimeSpan Shortest = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(90);

    private readonly Lock _gate = new();
    private DateTimeOffset _until;
    private TimeSpan _pause;
    private int _waiting;

    /// <summary>Whether requests wait at the moment.</summary>
    public bool IsWaiting => Volatile.Read(ref _waiting) > 0;

    /// <summary>Sends a request until the service takes it.</summary>
    /// <param name="request">One sending.</param>
    /// <param name="timeout">How long it may be put off.</param>
    /// <param name="time">Clock of the waits.</param>
    /// <param name="cancellationToken">Ends the waits.</param>
    /// <exception cref="TransferException">The service refused for another reason, or <c>maximum timeout reached</c>.</exception>
    public async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> request, TimeSpan timeout, TimeProvider time, CancellationToken cancellationToken)
    {
        var deadline = time.GetUtcNow() + timeout;
        TransferException? refusal = null;
        while (true)
        {
            var waitedFor = await WaitAsync(deadline, refusal, time, cancellationToken).ConfigureAwait(false);
            try
            {
                var answer = await request(cancellationToken).ConfigureAwait(false);
                Reset();
                return answer;
            }
            catch (TransferException e) when (e.Status == 429)
            {
                refusal = e;
                Refused(e.RetryAfter ?? TimeSpan.Zero, waitedFor, time.GetUtcNow());
            }
            catch (TransferException e) when (e.Status != 0)
            {
                Reset();
                throw;
            }
        }
    }

    /// <summary>Waits as long as requests are put off; returns the end that was waited for.</summary>
    private async Task<DateTimeOffset> WaitAsync(DateTimeOffset deadline, TransferException? refusal, TimeProvider time, CancellationToken cancellationToken)
    {
        DateTimeOffset waitedFor = default;
        while (true)
        {
            DateTimeOffset until;
            lock (_gate)
                until = _until;
            var now = time.GetUtcNow();
            if (until <= now || until == waitedFor)
                return until;
            if (until > deadline)
            {
                const string Over = "maximum timeout reached";
                throw refusal?.WithMessage($"{Over}: {refusal.Message}") ?? new TransferException(Over) { Status = 429 };
            }
            Interlocked.Increment(ref _waiting);
            try
            {
                await Task.Delay(until - now, time, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                Interlocked.Decrement(ref _waiting);
            }
            waitedFor = until;
        }
    }

    private void Refused(TimeSpan asked, DateTimeOffset waitedFor, DateTimeOffset now)
    {
        lock (_gate)
        {
            // A refusal of a request that went out before the waiting began says nothing new.
            if (_until > now && _until != waitedFor)
            {
                _until = Later(_until, now + (asked > Shortest ? asked : Shortest));
                return;
            }
            _pause = _pause == TimeSpan.Zero ? Shortest : _pause * 2 < Longest ? _pause * 2 : Longest;
            _until = now + (asked > _pause ? asked : _pause);
        }
    }

    private void Reset()
    {
        lock (_gate)
        {
            _pause = TimeSpan.Zero;
            _until = default;
        }
    }

    private static DateTimeOffset Later(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;
}
