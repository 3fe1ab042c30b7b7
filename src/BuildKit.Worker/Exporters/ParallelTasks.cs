namespace BuildKit.Worker.Exporters;

/// <summary>Work that goes on at the same time and fails together.</summary>
internal static class ParallelTasks
{
    /// <summary>Runs all; the first error stops the others, and is the one thrown when all have ended.</summary>
    public static async Task RunAsync(IEnumerable<Func<Task>> work, CancellationTokenSource failing)
    {
        Exception? first = null;
        await Task.WhenAll(work.Select(RunOneAsync).ToList());
        if (first is not null)
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);

        async Task RunOneAsync(Func<Task> one)
        {
            try
            {
                await one();
            }
            catch (Exception error)
            {
                Interlocked.CompareExchange(ref first, error, null);
                await failing.CancelAsync();
            }
        }
    }
}
