using System.Globalization;

namespace BuildKit.Registry.Transfer;

/// <summary>
/// Repeats what may pass: after 1, 2 and 4 seconds (and up to a quarter more by chance, so that clients that were stopped
/// together do not come back together), never sooner than the registry asked for, then gives up (spec 07 §12.6). Safe for
/// concurrent use.
/// </summary>
/// <param name="time">Clock of the waits.</param>
/// <param name="first">The first wait; a second by default. The others are multiples of it.</param>
public sealed class RegistryRetry(TimeProvider time, TimeSpan? first = null)
{
    /// <summary>Attempts at most.</summary>
    public const int MostAttempts = 4;

    // Who asks for more is asked again all the same: builds do not wait for hours.
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromSeconds(90);

    private readonly TimeSpan _first = first ?? TimeSpan.FromSeconds(1);
    private int _waiting;

    /// <summary>Clock of the waits.</summary>
    public TimeProvider Time => time;

    /// <summary>Whether something waits for its next attempt at the moment.</summary>
    public bool IsWaiting => Volatile.Read(ref _waiting) > 0;

    /// <summary>Runs an action until it succeeds, fails for good or its attempts are used up.</summary>
    /// <param name="action">The transfer, restartable.</param>
    /// <param name="log">Receives <c>error: …\n</c> and <c>retrying in 1s\n</c>, as the vertex log shows them.</param>
    /// <param name="cancellationToken">Ends the waits.</param>
    public async Task<T> RunAsync<T>(Func<Task<T>> action, Action<string>? log, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            TimeSpan? asked;
            try
            {
                return await action();
            }
            catch (RegistryException e) when (e.IsTransient && !cancellationToken.IsCancellationRequested)
            {
                log?.Invoke($"error: {e.Message}\n");
                if (attempt == MostAttempts)
                    throw;
                asked = e.RetryAfter;
                log?.Invoke(string.Create(CultureInfo.InvariantCulture, $"retrying in {Math.Round(WaitAfter(attempt, asked).TotalSeconds, 2)}s\n"));
            }
            await PauseAsync(attempt, asked, cancellationToken);
        }
    }

    /// <summary>Waits before the attempt after the n-th.</summary>
    /// <param name="attempt">How many attempts failed, counted from 1.</param>
    /// <param name="asked">How long the registry asked to be left alone.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public Task PauseAsync(int attempt, TimeSpan? asked, CancellationToken cancellationToken) =>
        WaitAsync(WaitAfter(attempt, asked) * (1 + (Random.Shared.NextDouble() / 4)), cancellationToken);

    /// <summary>Waits for the registry's sake.</summary>
    public async Task WaitAsync(TimeSpan wait, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _waiting);
        try
        {
            await Task.Delay(wait, time, cancellationToken);
        }
        finally
        {
            Interlocked.Decrement(ref _waiting);
        }
    }

    private TimeSpan WaitAfter(int attempt, TimeSpan? asked)
    {
        var own = _first * Math.Pow(2, Math.Min(attempt - 1, 3));
        return asked is { } wanted && wanted > own ? (wanted < LongestRetryAfter ? wanted : LongestRetryAfter) : own;
    }
}
