using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Client.Progress;

/// <summary>A stretch of time in which a vertex ran.</summary>
/// <param name="Start">Begin, in nanoseconds since 1970.</param>
/// <param name="Stop">End; null while it goes on.</param>
public readonly record struct Interval(long Start, long? Stop)
{
    /// <summary>Length in nanoseconds, up to <paramref name="now"/> while it goes on.</summary>
    public long Length(long now) => (Stop ?? now) - Start;

    /// <summary>Joins what overlaps; an open interval swallows everything after it. Ordered by start.</summary>
    public static List<Interval> Merge(IEnumerable<Interval> intervals)
    {
        var sorted = new List<Interval>(intervals);
        sorted.Sort(static (a, b) => a.Start.CompareTo(b.Start));
        var merged = new List<Interval>(sorted.Count);
        foreach (var next in sorted)
        {
            if (merged.Count == 0 || merged[^1].Stop < next.Start)
                merged.Add(next);
            else if (merged[^1].Stop is { } stop && (next.Stop is null || next.Stop > stop))
                merged[^1] = merged[^1] with { Stop = next.Stop };
        }
        return merged;
    }
}

/// <summary>Times of the wire as nanoseconds since 1970.</summary>
public static class WireTime
{
    /// <summary>Nanoseconds of a time; null for none.</summary>
    public static long? Nanoseconds(Timestamp? time) => time is null ? null : (time.Seconds * 1_000_000_000) + time.Nanos;

    /// <summary>The clock's time.</summary>
    public static long Now(TimeProvider time) => (time.GetUtcNow() - DateTimeOffset.UnixEpoch).Ticks * 100;

    /// <summary>A time from nanoseconds.</summary>
    public static Timestamp ToTimestamp(long nanoseconds)
    {
        var (seconds, rest) = Math.DivRem(nanoseconds, 1_000_000_000);
        return rest < 0 ? new Timestamp { Seconds = seconds - 1, Nanos = (int)rest + 1_000_000_000 } : new Timestamp { Seconds = seconds, Nanos = (int)rest };
    }
}
