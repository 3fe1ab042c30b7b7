using System.Globalization;

namespace BuildKit.Protocol.Grpc;

/// <summary>The <c>grpc-timeout</c> header: at most eight digits and a unit.</summary>
internal static class GrpcTimeout
{
    public static string Format(TimeSpan timeout)
    {
        if (timeout <= TimeSpan.Zero)
            return "1n";
        var microseconds = (long)Math.Ceiling(timeout.TotalMicroseconds);
        foreach (var (scale, unit) in new (long, char)[]
            { (1, 'u'), (1000, 'm'), (1_000_000, 'S'), (60_000_000, 'M') })
        {
            var value = (microseconds + scale - 1) / scale;
            if (value <= 99_999_999)
                return value.ToString(CultureInfo.InvariantCulture) + unit;
        }

        var hours = Math.Min(99_999_999, (microseconds + 3_599_999_999) / 3_600_000_000);
        return hours.ToString(CultureInfo.InvariantCulture) + 'H';
    }

    /// <summary>Null when the value is not a timeout.</summary>
    public static TimeSpan? Parse(string value)
    {
        if (value.Length is < 2 or > 9
            || !long.TryParse(value.AsSpan(0, value.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out var amount))
            return null;
        var ticks = value[^1] switch
        {
            'n' => (amount + 99) / 100,
            'u' => amount * TimeSpan.TicksPerMicrosecond,
            'm' => amount * TimeSpan.TicksPerMillisecond,
            'S' => amount * TimeSpan.TicksPerSecond,
            'M' => amount * TimeSpan.TicksPerMinute,
            'H' => Math.Min(amount, 1_000_000) * TimeSpan.TicksPerHour,
            _ => -1,
        };
        return ticks < 0 ? null : TimeSpan.FromTicks(ticks);
    }
}
