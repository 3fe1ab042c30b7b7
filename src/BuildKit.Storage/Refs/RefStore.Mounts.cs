using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

// Mounts of records.
public sealed partial class RefStore
{
    internal async Task<MountLease> AcquireMountsAsync(CacheRecord record, bool readOnly, CancellationToken cancellationToken)
    {
        var mounts = await MountsOfAsync(record, cancellationToken);
        if (!readOnly)
            return _mounts.Acquire(record.Id, mounts);
        if (!record.Committed)
            return new MountLease(mounts.Select(MountedTree.ReadOnly).ToList(), static () => ValueTask.CompletedTask);
        var held = Hold(record, RefOptions.Default, countsUse: false);
        return new MountLease(mounts.Select(MountedTree.ReadOnly).ToList(), held.DisposeAsync);
    }

    /// <summary>The mounts of a record's tree. A commit moves the tree to a snapshot of another name: who asked for the old one in
    /// between asks again.</summary>
    private async Task<IReadOnlyList<MountSpec>> MountsOfAsync(CacheRecord record, CancellationToken cancellationToken)
    {
        var snapshot = SnapshotOf(record);
        try
        {
            return await _snapshotter.MountsAsync(snapshot, cancellationToken);
        }
        catch (InvalidOperationException) when (record.Committed)
        {
            await FinalizeAsync(record, cancellationToken);
            if (SnapshotOf(record) == snapshot)
                throw;
            return await _snapshotter.MountsAsync(SnapshotOf(record), cancellationToken);
        }
    }

    internal ValueTask ReleaseMutableAsync(CacheRecord record, bool countsUse)
    {
        lock (_gate)
            record.Size = -1;
        return ReleaseAsync(record, countsUse);
    }
}
