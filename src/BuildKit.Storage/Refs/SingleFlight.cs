namespace BuildKit.Storage.Refs;

/// <summary>
/// Runs one piece of work per key at a time: who asks while it runs waits for the same run. The work is cancelled
/// when everybody who waits has given up, not when the first one does.
/// </summary>
internal sealed class SingleFlight<TKey, TResult>
    where TKey : notnull
{
    private readonly Dictionary<TKey, Flight> _flights = [];

    public async Task<TResult> RunAsync(TKey key, Func<CancellationToken, Task<TResult>> work, CancellationToken cancellationToken)
    {
        while (true)
        {
            Flight flight;
            lock (_flights)
            {
                if (!_flights.TryGetValue(key, out flight!))
                {
                    _flights.Add(key, flight = new Flight());
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

    private sealed class Flight
    {
        public CancellationTokenSource Cancellation { get; } = new();

        public Task<TResult> Task { get; set; } = null!;

        public int Waiting { get; set; }

        public bool Abandoned { get; set; }
    }
}
