using BuildKit.Storage.Layers;

namespace BuildKit.Storage.Refs;

// Mounts of records.
public sealed partial class RefStore
{
    internal async Task<MountLease> AcquireMountsAsync(CacheRecord record, bool readOnly, CancellationToken cancellationToken)
    {
        var mounts = await _snapshotter.MountsAsync(SnapshotOf(record), cancellationToken);
        if (!readOnly)
            return _mounts.Acquire(record.Id, mounts);
        if (!record.Committed)
            return new MountLease(mounts.Select(MountedTree.ReadOnly).ToList(), static () => ValueTask.CompletedTask);
        var held = Hold(record, RefOptions.Default, countsUse: false);
        return new MountLease(mounts.Select(MountedTree.ReadOnly).ToList(), held.DisposeAsync);
    }

    internal ValueTask ReleaseMutableAsync(CacheRecord record, bool countsUse)
    {
        lock (_gate)
            record.Size = -1;
        return ReleaseAsync(record, countsUse);
    }
}
