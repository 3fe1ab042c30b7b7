namespace BuildKit.Storage.Refs;

/// <summary>Policies of the garbage collection (spec 06 §5.1).</summary>
public static class GcPolicies
{
    private const long Giga = 1_000_000_000;

    /// <summary>The default rules: space limits from the size of the disk.</summary>
    /// <param name="diskBytes">Size of the root's file system in bytes; 0 when unknown.</param>
    public static IReadOnlyList<PruneOptions> Default(long diskBytes) => Default(
        Math.Min(Percent(10, diskBytes), 10 * Giga), Math.Min(Percent(80, diskBytes), 100 * Giga), Percent(20, diskBytes));

    /// <summary>The default rules with given limits in bytes; 0 is no limit.</summary>
    public static IReadOnlyList<PruneOptions> Default(long reservedSpace, long maxUsedSpace, long minFreeSpace) =>
    [
        // What is made again most easily goes first. One text per type: a comma would ask for all three at once.
        new(["type==source.local", "type==exec.cachemount", "type==source.git.checkout"], false, TimeSpan.FromHours(48), 0, 512_000_000, 0),
        new([], false, TimeSpan.FromDays(60), reservedSpace, maxUsedSpace, minFreeSpace),
        new([], false, TimeSpan.Zero, reservedSpace, maxUsedSpace, minFreeSpace),
        new([], true, TimeSpan.Zero, reservedSpace, maxUsedSpace, minFreeSpace),
    ];

    /// <summary>A share of a disk in bytes, rounded up to whole 10^9 the way the reference does.</summary>
    public static long Percent(long percent, long diskBytes) =>
        diskBytes == 0 ? 2 * Giga : ((diskBytes * percent / 100 / (1L << 30)) + 1) * Giga;
}
