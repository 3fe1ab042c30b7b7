using BuildKit.Storage.Refs;

namespace BuildKit.Daemon.Configuration;

/// <summary>The garbage collection rules in force (spec 06 §5.1).</summary>
public static class GcDefaults
{
    private const long Billion = 1_000_000_000;
    private static readonly string[] CheapToMakeAgain = ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"];

    /// <summary>Rules of a worker's settings on a disk of a size in bytes; empty when collection is off.</summary>
    public static IReadOnlyList<PruneOptions> Rules(OciWorkerSettings worker, long? diskSize)
    {
        if (!worker.Gc)
            return [];
        if (worker.GcPolicy is { } configured)
            return [.. configured.Select(rule => rule.ToOptions(diskSize))];
        long reserved, maxUsed, minFree;
        if (worker.ReservedSpace.IsUnset && worker.MaxUsedSpace.IsUnset && worker.MinFreeSpace.IsUnset)
        {
            reserved = Math.Min(new DiskSpace(0, 10).ToBytes(diskSize), 10 * Billion);
            maxUsed = Math.Min(new DiskSpace(0, 80).ToBytes(diskSize), 100 * Billion);
            minFree = new DiskSpace(0, 20).ToBytes(diskSize);
        }
        else
        {
            reserved = worker.ReservedSpace.ToBytes(diskSize);
            maxUsed = worker.MaxUsedSpace.ToBytes(diskSize);
            minFree = worker.MinFreeSpace.ToBytes(diskSize);
        }
        return
        [
            new PruneOptions(CheapToMakeAgain, All: false, TimeSpan.FromHours(48), 0, 512_000_000, 0),
            new PruneOptions([], All: false, TimeSpan.FromDays(60), reserved, maxUsed, minFree),
            new PruneOptions([], All: false, TimeSpan.Zero, reserved, maxUsed, minFree),
            new PruneOptions([], All: true, TimeSpan.Zero, reserved, maxUsed, minFree),
        ];
    }
}
