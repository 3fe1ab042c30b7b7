namespace BuildKit.Storage.Refs;

/// <summary>
/// Runs one piece of work per key at a time: who asks while it runs waits for the same run. The work is cancelled
/// when everybody who waits has given up, not when the first one does.
/// </summary>
internal sealed class SingleFlight<TKey, TResult>
    where TKey : notnull
{
    private readonly Dictionary<TKey, Flight> _flights = [];

    /// <summary>Runs the work of a key, or waits for the run under way.</summary>
    /// <param name="key">What is worked on.</param>
    /// <param name="work">The work.</param>
    /// <param name="cancellationToken">Ends the waiting.</param>
    /// <param name="means">What the work is done with, where askers may bring different ones (the place bytes come from). Who waited
    /// for a run with other means that failed runs with its own; null: every run is as good as another.</param>
    public async Task<TResult> RunAsync(TKey key, Func<CancellationToken, Task<TResult>> work, CancellationToken cancellationToken, object? means = null)
    {
        while (true)
        {
            Flight flight;
            bool isOwn;
            lock (_flights)
            {
                isOwn = !_flights.TryGetValue(key, out flight!);
                if (isOwn)
                {
                    _flights.Add(key, flight = new Flight(means));
                    flight.Task = RunOneAsync(key, flight, work);
                }

                flight.Waiting++;
            }

            try
            {
                return await flight.Task.WaitAsync(cancellationToken);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested && flight.Abandoned)
            {
                // Joined a run whose other waiters had just given up: start afresh.
                continue;
            }
            catch (Exception) when (!isOwn && flight.Task.IsCompleted && !cancellationToken.IsCancellationRequested && !Equals(means, flight.Means))
            {
                // What failed with another's means may succeed with ours; each asker starts one run at most.
                continue;
            }
            finally
            {
                lock (_flights)
                {
                    if (--flight.Waiting == 0 && !flight.Task.IsCompleted)
                    {
                        flight.Abandoned = true;
                        flight.Cancellation.Cancel();
                    }
                }
            }
        }
    }

    private async Task<TResult> RunOneAsync(TKey key, Flight flight, Func<CancellationToken, Task<TResult>> work)
    {
        await Task.Yield();
        try
        {
            return await work(flight.Cancellation.Token);
        }
        finally
        {
            lock (_flights)
                _flights.Remove(key);
        }
    }

    private sealed class Flight(object? means)
    {
        public CancellationTokenSource Cancellation { get; } = new();

        public object? Means => means;

        public Task<TResult> Task { get; set; } = null!;

        public int Waiting { get; set; }

        public bool Abandoned { get; set; }
    }
}
