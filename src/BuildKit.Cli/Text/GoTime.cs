using System.Globalization;
using BuildKit.Cli.Progress;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Cli.Text;

/// <summary>Times and durations as Go prints them.</summary>
internal static class GoTime
{
    /// <summary><c>2026-11-20 23:53:12.189899874 +0000 UTC</c>.</summary>
    public static string Default(Timestamp time) => StatusJson.Time(time).Replace('T', ' ').Replace("Z", " +0000 UTC", StringComparison.Ordinal);

    /// <summary>RFC 3339 with whole seconds in the local zone; empty for no time.</summary>
    public static string Local(Timestamp? time, TimeProvider clock)
    {
        if (time is null)
            return "";
        var local = TimeZoneInfo.ConvertTime(DateTimeOffset.FromUnixTimeSeconds(time.Seconds), clock.LocalTimeZone);
        return local.Offset == TimeSpan.Zero
            ? local.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture)
            : local.ToString("yyyy-MM-dd'T'HH:mm:sszzz", CultureInfo.InvariantCulture);
    }

    /// <summary><c>1h30m0s</c>, <c>1.5s</c>, <c>90µs</c>.</summary>
    public static string Duration(long nanoseconds)
    {
        if (nanoseconds == 0)
            return "0s";
        var sign = nanoseconds < 0 ? "-" : "";
        var left = nanoseconds < 0 ? unchecked((ulong)-nanoseconds) : (ulong)nanoseconds;
        if (left < 1_000)
            return $"{sign}{left}ns";
        if (left < 1_000_000)
            return $"{sign}{Fraction(left, 1_000, 3)}µs";
        if (left < 1_000_000_000)
            return $"{sign}{Fraction(left, 1_000_000, 6)}ms";
        var minutes = left / 60_000_000_000;
        var seconds = Fraction(left % 60_000_000_000, 1_000_000_000, 9) + "s";
        if (minutes == 0)
            return sign + seconds;
        return minutes < 60 ? $"{sign}{minutes}m{seconds}" : $"{sign}{minutes / 60}h{minutes % 60}m{seconds}";
    }

    private static string Fraction(ulong value, ulong unit, int digits)
    {
        var fraction = (value % unit).ToString("D" + digits.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture).TrimEnd('0');
        var whole = (value / unit).ToString(CultureInfo.InvariantCulture);
        return fraction.Length == 0 ? whole : $"{whole}.{fraction}";
    }
}
