using System.Collections.Concurrent;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>
/// The blocks that gzip layers are compressed in, shared by all layers that are made at the same time: memory follows from
/// the number of cores, however many layers there are. Safe for concurrent use.
/// </summary>
/// <param name="count">Blocks there are, at least 1.</param>
public sealed class GzipBlocks(int count)
{
    private readonly SemaphoreSlim _free = new(count);
    private readonly ConcurrentBag<GzipBlock> _kept = [];
    private int _users;

    /// <summary>As many as keep every core busy: one each at work, one each waiting to be written, and some being filled.</summary>
    public static GzipBlocks ForAllCores() => new((2 * Math.Max(2, Environment.ProcessorCount)) + 2);

    /// <summary>Blocks nobody has.</summary>
    internal int Free => _free.CurrentCount;

    /// <summary>Counts a user. While there is one, memory of returned blocks is kept.</summary>
    internal void Enter() => Interlocked.Increment(ref _users);

    /// <summary>Ends the use.</summary>
    internal void Leave()
    {
        if (Interlocked.Decrement(ref _users) == 0)
            _kept.Clear();
    }

    /// <summary>A block if one is free. Who has a block that others wait for must return it without waiting for another.</summary>
    internal GzipBlock? TryRent() => _free.Wait(0) ? Take() : null;

    /// <summary>A block as soon as one is free. Only for those who have none: others could wait for each other.</summary>
    internal async ValueTask<GzipBlock> RentAsync(CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken).ConfigureAwait(false);
        return Take();
    }

    internal void Return(GzipBlock block)
    {
        block.Length = 0;
        _kept.Add(block);
        _free.Release();
    }

    private GzipBlock Take() => _kept.TryTake(out var block) ? block : new GzipBlock();
}

/// <summary>A piece of a layer before and after compression.</summary>
internal sealed class GzipBlock
{
    /// <summary>Uncompressed bytes of a block: large enough to cost no ratio, small enough to spread.</summary>
    internal const int Size = 1 << 20;

    /// <summary>Its uncompressed bytes.</summary>
    internal byte[] Source { get; } = GC.AllocateUninitializedArray<byte>(Size);

    /// <summary>How many there are.</summary>
    internal int Length { get; set; }

    /// <summary>What they become.</summary>
    internal MemoryStream Output { get; } = new(Size / 2);
}
