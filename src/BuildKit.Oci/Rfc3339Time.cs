using System.Globalization;
using System.Text.RegularExpressions;

namespace BuildKit.Oci;

/// <summary>
/// A point in time with nanoseconds and the offset it was written with, as image documents hold it. Text in, same
/// text out, except that trailing zeros of the fraction go (spec 07 §1). Ordered by the instant.
/// </summary>
public readonly partial record struct Rfc3339Time : IComparable<Rfc3339Time>
{
    /// <summary>Seconds since 1970-01-01T00:00:00Z.</summary>
    public long UnixSeconds { get; init; }

    /// <summary>Nanoseconds within the second, 0 to 999 999 999.</summary>
    public int Nanoseconds { get; init; }

    /// <summary>Offset of the local time from UTC in minutes.</summary>
    public int OffsetMinutes { get; init; }

    /// <summary>The instant, in UTC, without its digits beyond 100 ns.</summary>
    public DateTimeOffset ToDateTimeOffset() =>
        DateTimeOffset.UnixEpoch.AddTicks((UnixSeconds * TimeSpan.TicksPerSecond) + (Nanoseconds / 100));

    /// <summary>The time in UTC.</summary>
    public static Rfc3339Time FromUnixSeconds(long seconds) => new() { UnixSeconds = seconds };

    /// <summary>The time with the offset of the argument.</summary>
    public static Rfc3339Time From(DateTimeOffset time)
    {
        var ticks = time.UtcTicks - DateTimeOffset.UnixEpoch.Ticks;
        var seconds = Math.DivRem(ticks, TimeSpan.TicksPerSecond, out var rest);
        if (rest < 0)
            (seconds, rest) = (seconds - 1, rest + TimeSpan.TicksPerSecond);
        return new Rfc3339Time { UnixSeconds = seconds, Nanoseconds = (int)rest * 100, OffsetMinutes = (int)time.Offset.TotalMinutes };
    }

    /// <summary>Parses RFC 3339 with any number of fractional digits (those beyond nine are cut).</summary>
    /// <exception cref="FormatException">Not such a time.</exception>
    public static Rfc3339Time Parse(string text) =>
        TryParse(text, out var time) ? time : throw new FormatException($"invalid time {GoSyntax.Quote(text)}: expected RFC 3339");

    /// <summary>Parses RFC 3339; false when it is not such a time.</summary>
    public static bool TryParse(string text, out Rfc3339Time time)
    {
        time = default;
        var match = Expression().Match(text);
        if (!match.Success)
            return false;
        var local = match.Groups["local"].Value;
        if (!DateTime.TryParseExact(local, "yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date))
            return false;
        var fraction = match.Groups["fraction"].Value.PadRight(9, '0')[..9];
        var offset = 0;
        if (match.Groups["sign"].Success)
        {
            var hours = Number(match.Groups["hours"].Value);
            var minutes = Number(match.Groups["minutes"].Value);
            if (hours > 23 || minutes > 59)
                return false;
            offset = ((hours * 60) + minutes) * (match.Groups["sign"].Value == "-" ? -1 : 1);
        }
        time = new Rfc3339Time
        {
            UnixSeconds = ((date.Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerSecond) - (offset * 60L),
            Nanoseconds = Number(fraction),
            OffsetMinutes = offset,
        };
        return true;

        static int Number(string digits) => int.Parse(digits, NumberStyles.None, CultureInfo.InvariantCulture);
    }

    /// <summary>Earlier instants first; the offset does not count.</summary>
    public int CompareTo(Rfc3339Time other)
    {
        var seconds = UnixSeconds.CompareTo(other.UnixSeconds);
        return seconds != 0 ? seconds : Nanoseconds.CompareTo(other.Nanoseconds);
    }

    /// <summary>Whether the left instant is later.</summary>
    public static bool operator >(Rfc3339Time left, Rfc3339Time right) => left.CompareTo(right) > 0;

    /// <summary>Whether the left instant is earlier.</summary>
    public static bool operator <(Rfc3339Time left, Rfc3339Time right) => left.CompareTo(right) < 0;

    /// <summary>Whether the left instant is later or the same.</summary>
    public static bool operator >=(Rfc3339Time left, Rfc3339Time right) => left.CompareTo(right) >= 0;

    /// <summary>Whether the left instant is earlier or the same.</summary>
    public static bool operator <=(Rfc3339Time left, Rfc3339Time right) => left.CompareTo(right) <= 0;

    /// <summary>RFC 3339 with the needed fractional digits; <c>Z</c> for UTC.</summary>
    public override string ToString()
    {
        var local = DateTime.UnixEpoch.AddSeconds(UnixSeconds + (OffsetMinutes * 60L)).ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture);
        var fraction = Nanoseconds == 0 ? "" : "." + Nanoseconds.ToString("D9", CultureInfo.InvariantCulture).TrimEnd('0');
        if (OffsetMinutes == 0)
            return local + fraction + "Z";
        var minutes = Math.Abs(OffsetMinutes);
        return string.Create(CultureInfo.InvariantCulture, $"{local}{fraction}{(OffsetMinutes < 0 ? '-' : '+')}{minutes / 60:D2}:{minutes % 60:D2}");
    }

    [GeneratedRegex(@"\A(?<local>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,](?<fraction>[0-9]+))?(?:Z|(?<sign>[+-])(?<hours>[0-9]{2}):(?<minutes>[0-9]{2}))\z", RegexOptions.CultureInvariant, 1000)]
    private static partial Regex Expression();
}
