namespace BuildKit.Worker.Ops;

/// <summary>Limits how many source, exec and file operations run at a time; 0 is unlimited.</summary>
public sealed class WorkerSlots(long maxParallelism) : IDisposable
{
    private readonly SemaphoreSlim? _free = maxParallelism > 0 ? new SemaphoreSlim((int)Math.Min(maxParallelism, int.MaxValue)) : null;

    /// <summary>Waits for a slot; null when there is no limit.</summary>
    public async ValueTask<IDisposable?> AcquireAsync(CancellationToken cancellationToken)
    {
        if (_free is null)
            return null;
        await _free.WaitAsync(cancellationToken);
        return new Slot(_free);
    }

    /// <inheritdoc/>
    public void Dispose() => _free?.Dispose();

    private sealed class Slot(SemaphoreSlim free) : IDisposable
    {
        private int _released;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _released, 1) == 0)
                free.Release();
        }
    }
}
