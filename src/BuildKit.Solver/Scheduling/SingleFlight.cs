namespace BuildKit.Solver;

/// <summary>
/// Runs a piece of work once for all who ask for it at the same time. The work is cancelled when the last of them
/// has gone; who comes while a cancelled run winds down waits for its end and starts anew (spec 03 §4).
/// </summary>
internal sealed class SingleFlight<T>
{
    private readonly Lock _gate = new();
    private Run? _current;

    /// <summary>The result of the running work, or of new work when none runs.</summary>
    public async Task<T> RunAsync(Func<CancellationToken, Task<T>> work, CancellationToken cancellationToken)
    {
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Run run;
            var starts = false;
            lock (_gate)
            {
                if (_current is null)
                {
                    _current = new Run();
                    starts = true;
                }
                run = _current;
                if (!run.Abandoned)
                    run.Callers++;
            }
            if (run.Abandoned)
            {
                await run.Ended.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
                continue;
            }
            if (starts)
                _ = ExecuteAsync(run, work);
            return await WaitAsync(run, cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task<T> WaitAsync(Run run, CancellationToken cancellationToken)
    {
        try
        {
            return await run.Result.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && !run.Result.Task.IsCompleted)
        {
            lock (_gate)
            {
                if (--run.Callers > 0)
                    throw;
                run.Abandoned = true;
            }
        }
        // The last caller stops the work and stays until it has stopped.
        await run.Cancellation.CancelAsync().ConfigureAwait(false);
        await run.Ended.Task.ConfigureAwait(false);
        if (run.Result.Task.IsCompletedSuccessfully)
            return await run.Result.Task.ConfigureAwait(false);
        throw new OperationCanceledException(cancellationToken);
    }

    private async Task ExecuteAsync(Run run, Func<CancellationToken, Task<T>> work)
    {
        Exception? error = null;
        T? value = default;
        try
        {
            value = await work(run.Cancellation.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            error = e;
        }
        lock (_gate)
            _current = null;
        if (error is null)
            run.Result.SetResult(value!);
        else
            run.Result.SetException(error);
        _ = run.Result.Task.Exception;
        run.Ended.SetResult();
    }

    private sealed class Run
    {
        public TaskCompletionSource<T> Result { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Ended { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>
        /// Never disposed: the last caller may cancel while the work ends by itself. Without a timer or a wait handle
        /// there is nothing to free.
        /// </summary>
        public CancellationTokenSource Cancellation { get; } = new();

        public int Callers { get; set; }

        public bool Abandoned { get; set; }
    }
}
