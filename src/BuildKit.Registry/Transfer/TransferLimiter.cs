using System.Collections.Concurrent;

namespace BuildKit.Registry.Transfer;

/// <summary>At most four transfers at once per registry, and one more for JSON documents, so that they do not wait behind
/// layers (spec 07 §12.6). Reading and writing have slots of their own: a push that reads its blobs from the same registry
/// must not wait for itself.</summary>
internal sealed class TransferLimiter
{
    private readonly ConcurrentDictionary<(string Registry, bool IsWrite), (SemaphoreSlim All, SemaphoreSlim Json)> _registries = new();

    /// <summary>Waits for a slot; disposing gives it back.</summary>
    public async Task<IDisposable> EnterAsync(string registry, string mediaType, bool isWrite, CancellationToken cancellationToken)
    {
        var (all, json) = _registries.GetOrAdd((registry, isWrite), _ => (new SemaphoreSlim(4), new SemaphoreSlim(1)));
        if (mediaType.EndsWith("+json", StringComparison.Ordinal) && !await all.WaitAsync(0, cancellationToken))
        {
            await json.WaitAsync(cancellationToken);
            return new Slot(json);
        }
        if (!mediaType.EndsWith("+json", StringComparison.Ordinal))
            await all.WaitAsync(cancellationToken);
        return new Slot(all);
    }

    /// <summary>Whether every reading slot of a registry is taken: who wants one waits, however quick the registry is.</summary>
    public bool IsBusy(string registry) => _registries.TryGetValue((registry, false), out var slots) && slots.All.CurrentCount == 0;

    private sealed class Slot(SemaphoreSlim semaphore) : IDisposable
    {
        private int _isReleased;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isReleased, 1) == 0)
                semaphore.Release();
        }
    }
}
