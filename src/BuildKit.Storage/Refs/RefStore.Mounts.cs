using BuildKit.Storage.Snapshots;

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
            return new MountLease(mounts.Select(ReadOnly).ToList(), static () => ValueTask.CompletedTask);
        var held = Hold(record, RefOptions.Default, countsUse: false);
        return new MountLease(mounts.Select(ReadOnly).ToList(), held.DisposeAsync);
    }

    internal ValueTask ReleaseMutableAsync(CacheRecord record, bool countsUse)
    {
        lock (_gate)
            record.Size = -1;
        return ReleaseAsync(record, countsUse);
    }

    /// <summary>The read-only form of a mount: an overlay's upper directory becomes its nearest lower one (spec 06 §1.2).</summary>
    private static MountSpec ReadOnly(MountSpec mount)
    {
        if (mount.Type == "bind")
            return mount with { Options = ["ro", .. mount.Options.Where(o => o is not ("ro" or "rw"))] };
        var upper = mount.Options.FirstOrDefault(o => o.StartsWith("upperdir=", StringComparison.Ordinal));
        if (upper is null)
            return mount;
        const string lower = "lowerdir=";
        return mount with
        {
            Options = mount.Options
                .Where(o => !o.StartsWith("upperdir=", StringComparison.Ordinal) && !o.StartsWith("workdir=", StringComparison.Ordinal))
                .Select(o => o.StartsWith(lower, StringComparison.Ordinal) ? $"{lower}{upper["upperdir=".Length..]}:{o[lower.Length..]}" : o)
                .ToList(),
        };
    }
}
