using System.Globalization;
using System.Text;

namespace BuildKit.Oci;

/// <summary>Durations as Go's <c>time</c> package reads and writes them: <c>300ms</c>, <c>1h2m3.5s</c>. It counts nanoseconds in
/// 64 bits, about 292 years either way.</summary>
public static class GoDuration
{
    private const ulong Most = 1UL << 63;
    private const ulong Microsecond = 1000;
    private const ulong Millisecond = 1000 * Microsecond;
    private const ulong Second = 1000 * Millisecond;
    private const ulong Minute = 60 * Second;
    private const ulong Hour = 60 * Minute;

    /// <summary>Reads a duration in nanoseconds.</summary>
    /// <exception cref="FormatException">It is none or beyond 64 bits; the text is Go's.</exception>
    public static long ParseNanoseconds(string text) => Read(text, out var nanoseconds) is { } error ? throw new FormatException(error) : nanoseconds;

    /// <summary>Reads a duration. <see cref="TimeSpan"/> counts in 100 ns: parts of that round away from zero, so that only nothing
    /// is nothing.</summary>
    /// <exception cref="FormatException">It is none or beyond 64 bits; the text is Go's.</exception>
    public static TimeSpan Parse(string text) => Rounded(ParseNanoseconds(text));

    /// <summary>Reads a duration as <see cref="Parse"/> does; false when it is none.</summary>
    public static bool TryParse(string text, out TimeSpan value)
    {
        var isDuration = Read(text, out var nanoseconds) is null;
        value = Rounded(nanoseconds);
        return isDuration;
    }

    /// <summary>Writes nanoseconds: <c>0s</c>, <c>500ms</c>, <c>1m30s</c>.</summary>
    public static string Format(long nanoseconds)
    {
        if (nanoseconds == 0)
            return "0s";
        var value = nanoseconds < 0 ? (ulong)-(Int128)nanoseconds : (ulong)nanoseconds;
        var text = new StringBuilder(nanoseconds < 0 ? "-" : "");
        if (value < Second)
        {
            var (scale, unit) = value < Microsecond ? (1UL, "ns") : value < Millisecond ? (Microsecond, "µs") : (Millisecond, "ms");
            return text.Append(Decimal(value, scale)).Append(unit).ToString();
        }
        var hours = value / Hour;
        var minutes = value / Minute % 60;
        if (hours > 0)
            text.Append(CultureInfo.InvariantCulture, $"{hours}h");
        if (hours > 0 || minutes > 0)
            text.Append(CultureInfo.InvariantCulture, $"{minutes}m");
        return text.Append(Decimal(value % Minute, Second)).Append('s').ToString();
    }

    /// <summary>Reads a duration; returns what is wrong with it, or null.</summary>
    private static string? Read(string text, out long nanoseconds)
    {
        nanoseconds = 0;
        var rest = text.AsSpan();
        var isNegative = rest is ['-', ..];
        if (rest is ['+' or '-', ..])
            rest = rest[1..];
        if (rest is "0")
            return null;
        if (rest.IsEmpty)
            return Invalid(text);
        var total = 0UL;
        while (!rest.IsEmpty)
        {
            var number = rest[..Digits(rest)];
            rest = rest[number.Length..];
            ReadOnlySpan<char> fraction = [];
            if (rest is ['.', ..])
            {
                rest = rest[1..];
                fraction = rest[..Digits(rest)];
                rest = rest[fraction.Length..];
            }
            if (number.IsEmpty && fraction.IsEmpty)
                return Invalid(text);
            var end = rest.IndexOfAny(".0123456789");
            var unit = end < 0 ? rest : rest[..end];
            if (unit.IsEmpty)
                return $"time: missing unit in duration {Quote(text)}";
            if (Scale(unit) is not { } scale)
                return $"time: unknown unit {Quote(unit.ToString())} in duration {Quote(text)}";
            rest = rest[unit.Length..];
            // Each number, each product and each sum by itself must fit: one bit more than a positive duration has, for the lowest.
            if (!TryCount(number, out var count) || count > Most / scale)
                return Invalid(text);
            var part = (count * scale) + FractionOf(fraction, scale);
            if (part > Most - total)
                return Invalid(text);
            total += part;
        }
        if (!isNegative && total == Most)
            return Invalid(text);
        nanoseconds = isNegative ? (long)(0 - total) : (long)total;
        return null;
    }

    private static int Digits(ReadOnlySpan<char> text) => text.IndexOfAnyExceptInRange('0', '9') is >= 0 and var end ? end : text.Length;

    private static bool TryCount(ReadOnlySpan<char> digits, out ulong count)
    {
        count = 0;
        return digits.IsEmpty || (ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out count) && count <= Most);
    }

    /// <summary>Whole nanoseconds of the digits behind the point. Those beyond 64 bits do not count.</summary>
    private static ulong FractionOf(ReadOnlySpan<char> digits, ulong scale)
    {
        var value = 0UL;
        var divisor = 1.0;
        foreach (var digit in digits)
        {
            if (value > (Most - 1) / 10)
                break;
            var next = (value * 10) + (ulong)(digit - '0');
            if (next > Most)
                break;
            value = next;
            divisor *= 10;
        }
        return value == 0 ? 0 : (ulong)(value * (scale / divisor));
    }

    private static ulong? Scale(ReadOnlySpan<char> unit) => unit switch
    {
        "ns" => 1,
        "us" or "µs" or "μs" => Microsecond, // U+00B5 and U+03BC
        "ms" => Millisecond,
        "s" => Second,
        "m" => Minute,
        "h" => Hour,
        _ => null,
    };

    private static string Decimal(ulong value, ulong scale)
    {
        var whole = (value / scale).ToString(CultureInfo.InvariantCulture);
        if (value % scale is not (> 0 and var rest))
            return whole;
        var digits = scale.ToString(CultureInfo.InvariantCulture).Length - 1;
        return whole + "." + rest.ToString(CultureInfo.InvariantCulture).PadLeft(digits, '0').TrimEnd('0');
    }

    private static TimeSpan Rounded(long nanoseconds)
    {
        var (ticks, rest) = Math.DivRem(nanoseconds, TimeSpan.NanosecondsPerTick);
        return TimeSpan.FromTicks(ticks + Math.Sign(rest));
    }

    private static string Invalid(string text) => $"time: invalid duration {Quote(text)}";

    /// <summary>A text in quotes as the <c>time</c> package puts it: plainer than <c>%q</c>, every byte that is no printable ASCII as
    /// <c>\x</c> and its number.</summary>
    private static string Quote(string text)
    {
        var quoted = new StringBuilder("\"");
        foreach (var unit in Encoding.UTF8.GetBytes(text))
        {
            if (unit is < 0x20 or >= 0x80)
                quoted.Append(CultureInfo.InvariantCulture, $"\\x{unit:x2}");
            else if (unit is (byte)'"' or (byte)'\\')
                quoted.Append('\\').Append((char)unit);
            else
                quoted.Append((char)unit);
        }
        return quoted.Append('"').ToString();
    }
}
