namespace BuildKit.Linux;

/// <summary>A point in time as the kernel keeps it: seconds since 1970 (negative before) plus 0..999999999 ns.</summary>
public readonly record struct UnixTime(long Seconds, int Nanoseconds) : IComparable<UnixTime>
{
    /// <summary>1970-01-01T00:00:00Z.</summary>
    public static UnixTime Epoch => default;

    /// <summary>The time given in nanoseconds since 1970.</summary>
    public static UnixTime FromNanoseconds(long nanoseconds)
    {
        var seconds = Math.DivRem(nanoseconds, 1_000_000_000, out var rest);
        return rest < 0 ? new(seconds - 1, (int)(rest + 1_000_000_000)) : new(seconds, (int)rest);
    }

    /// <summary>The same time with a resolution of 100 ns.</summary>
    public static UnixTime From(DateTimeOffset time)
    {
        var ticks = time.UtcTicks - DateTime.UnixEpoch.Ticks;
        var seconds = Math.DivRem(ticks, TimeSpan.TicksPerSecond, out var rest);
        return rest < 0 ? new(seconds - 1, (int)(rest + TimeSpan.TicksPerSecond) * 100) : new(seconds, (int)rest * 100);
    }

    /// <summary>Nanoseconds since 1970; wraps outside the years 1678..2262, as Go's UnixNano does.</summary>
    public long ToNanoseconds() => unchecked((Seconds * 1_000_000_000) + Nanoseconds);

    /// <summary>The same time with a resolution of 100 ns; clamped to the years 1..9999.</summary>
    public DateTimeOffset ToDateTimeOffset()
    {
        const long Min = -62_135_596_800, Max = 253_402_300_799;
        return DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(Seconds, Min, Max)).AddTicks(Nanoseconds / 100);
    }

    /// <inheritdoc/>
    public int CompareTo(UnixTime other)
    {
        var bySeconds = Seconds.CompareTo(other.Seconds);
        return bySeconds != 0 ? bySeconds : Nanoseconds.CompareTo(other.Nanoseconds);
    }

    public static bool operator <(UnixTime left, UnixTime right) => left.CompareTo(right) < 0;

    public static bool operator >(UnixTime left, UnixTime right) => left.CompareTo(right) > 0;

    public static bool operator <=(UnixTime left, UnixTime right) => left.CompareTo(right) <= 0;

    public static bool operator >=(UnixTime left, UnixTime right) => left.CompareTo(right) >= 0;
}
