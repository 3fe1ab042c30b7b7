using System.Runtime;
using BuildKit.Linux;

namespace BuildKit.Daemon.Hosting;

/// <summary>
/// Gives memory back to the system when no build has run for a moment: the collector and the C library keep what a large
/// build took for a next one of its size, which may never come. Builds that follow each other closely pay nothing.
/// </summary>
internal sealed class IdleMemory : IDisposable
{
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(1);

    // An idle daemon has about as much; giving back less is not worth the work.
    private const long WorthIt = 24L << 20;

    private readonly Action _giveBack;
    private readonly ITimer _timer;
    private int _running;

    /// <param name="time">Clock of the moment.</param>
    /// <param name="giveBack">What is done then; null for giving memory back.</param>
    public IdleMemory(TimeProvider time, Action? giveBack = null)
    {
        _giveBack = giveBack ?? GiveBack;
        _timer = time.CreateTimer(_ => OnRest(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A build begins.</summary>
    public void Begin() => Interlocked.Increment(ref _running);

    /// <summary>It ended.</summary>
    public void End()
    {
        if (Interlocked.Decrement(ref _running) == 0)
            _timer.Change(Rest, Timeout.InfiniteTimeSpan);
    }

    /// <inheritdoc/>
    public void Dispose() => _timer.Dispose();

    private void OnRest()
    {
        if (Volatile.Read(ref _running) == 0)
            _giveBack();
    }

    private static void GiveBack()
    {
        if (GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes < WorthIt)
            return;
        GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        LinuxProcess.TrimHeap();
    }
}
