namespace BuildKit.RemoteCache.Transfer;

/// <summary>How patient a store's client is.</summary>
/// <param name="Attempts">Times a request is sent at most.</param>
/// <param name="FirstDelay">Wait before the second attempt; it doubles from one attempt to the next.</param>
/// <param name="LongestDelay">Where the doubling ends.</param>
/// <param name="Silence">How long nothing may move on a connection before it counts as broken.</param>
public sealed record TransferPolicy(int Attempts, TimeSpan FirstDelay, TimeSpan LongestDelay, TimeSpan Silence)
{
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromSeconds(90);

    /// <summary>Three attempts with up to 20 seconds between them, as Amazon's clients do by default.</summary>
    public static TransferPolicy Default { get; } = new(3, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(20), TimeSpan.FromMinutes(1));

    /// <summary>The same patience with another first wait; null for its own.</summary>
    public TransferPolicy StartingAt(TimeSpan? firstDelay) => firstDelay is { } first ? this with { FirstDelay = first } : this;

    /// <summary>Runs an action until it succeeds, fails for good or its attempts are used up.</summary>
    /// <param name="action">One attempt; restartable.</param>
    /// <param name="time">Clock of the waits.</param>
    /// <param name="cancellationToken">Ends the waits.</param>
    /// <exception cref="TransferException">The last attempt's error, which says that attempts are used up when they are.</exception>
    public async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> action, TimeProvider time, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            TransferException failure;
            try
            {
                return await action(cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e) when (e.IsTransient && !cancellationToken.IsCancellationRequested)
            {
                if (attempt >= Attempts)
                    throw e.WithMessage($"exceeded maximum number of attempts, {Attempts}, {e.Message}");
                failure = e;
            }
            await PauseAsync(attempt, failure.RetryAfter, time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Waits before the attempt after the n-th: exponential, the upper half of it by chance so that clients that were
    /// stopped together do not come back together; never less than the store asked for (at most 90 seconds).</summary>
    public Task PauseAsync(int attempt, TimeSpan? retryAfter, TimeProvider time, CancellationToken cancellationToken)
    {
        var full = Math.Min(LongestDelay.TotalMilliseconds, FirstDelay.TotalMilliseconds * Math.Pow(2, attempt - 1));
        var wait = TimeSpan.FromMilliseconds(full * (0.5 + (Random.Shared.NextDouble() / 2)));
        if (retryAfter is { } asked)
            wait = TimeSpan.FromTicks(Math.Max(wait.Ticks, Math.Min(asked.Ticks, LongestRetryAfter.Ticks)));
        return Task.Delay(wait, time, cancellationToken);
    }
}
