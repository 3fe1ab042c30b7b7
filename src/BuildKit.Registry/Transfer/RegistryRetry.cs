namespace BuildKit.Registry.Transfer;

/// <summary>Repeats a whole transfer on errors that may pass: after 1, 2 and 4 seconds, then gives up (spec 07 §12.6).</summary>
public static class RegistryRetry
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(8);

    /// <summary>Runs an action until it succeeds, fails for good or four attempts are used up.</summary>
    /// <param name="action">The transfer, restartable.</param>
    /// <param name="log">Receives <c>error: …\n</c> and <c>retrying in 1s\n</c>, as the vertex log shows them.</param>
    /// <param name="time">Clock for the waits.</param>
    /// <param name="cancellationToken">Ends the waits.</param>
    public static async Task<T> RunAsync<T>(Func<Task<T>> action, Action<string>? log, TimeProvider time, CancellationToken cancellationToken)
    {
        for (var wait = TimeSpan.FromSeconds(1); ; wait *= 2)
        {
            try
            {
                return await action();
            }
            catch (RegistryException e) when (e.IsTransient && !cancellationToken.IsCancellationRequested)
            {
                log?.Invoke($"error: {e.Message}\n");
                if (wait >= Longest)
                    throw;
                log?.Invoke(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"retrying in {wait.TotalSeconds}s\n"));
            }
            await Task.Delay(wait, time, cancellationToken);
        }
    }
}
