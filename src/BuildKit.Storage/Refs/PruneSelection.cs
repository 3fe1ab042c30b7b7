namespace BuildKit.Storage.Refs;

/// <summary>The arithmetic of pruning (spec 06 §5.2).</summary>
internal static class PruneSelection
{
    /// <summary>Bytes to keep; 0 is "no cap: everything eligible goes", null is "nothing to do".</summary>
    public static long? KeepBytes(PruneOptions policy, long total, long free)
    {
        var keep = policy.MaxUsedSpace;
        var excess = policy.MinFreeSpace - free;
        if (policy.MinFreeSpace != 0 && excess > 0)
            keep = keep == 0 ? total - excess : Math.Min(keep, total - excess);
        else if (policy is { MaxUsedSpace: 0, ReservedSpace: 0 })
            return null; // only a minimum of free space, and it is there
        return Math.Max(keep, policy.ReservedSpace);
    }

    /// <summary>Least recently and least often used first: the sum of two ranks, each scaled to 0..1.</summary>
    public static IEnumerable<T> Best<T>(IReadOnlyList<T> candidates, Func<T, (DateTimeOffset? LastUsedAt, long UsageCount)> usage)
    {
        // Never used is the lowest rank of times, a count of 0 the lowest of counts, present or not.
        var byTime = Ranks(candidates.Select(c => usage(c).LastUsedAt?.UtcTicks ?? long.MinValue), startsAtZero: long.MinValue);
        var byCount = Ranks(candidates.Select(c => usage(c).UsageCount), startsAtZero: 0);
        var (maxTime, maxCount) = (Max(byTime), Max(byCount));
        return candidates.OrderBy(c => Share(byTime[usage(c).LastUsedAt?.UtcTicks ?? long.MinValue], maxTime) + Share(byCount[usage(c).UsageCount], maxCount));
    }

    private static Dictionary<long, int> Ranks(IEnumerable<long> values, long startsAtZero)
    {
        var ranks = new Dictionary<long, int>();
        var rank = 0;
        var last = startsAtZero;
        foreach (var value in values.Distinct().Order())
        {
            if (value > last)
                rank++;
            ranks[value] = rank;
            last = value;
        }

        return ranks;
    }

    private static int Max(Dictionary<long, int> ranks) => ranks.Count == 0 ? 0 : ranks.Values.Max();

    private static double Share(int rank, int max) => max == 0 ? 0 : (double)rank / max;
}
