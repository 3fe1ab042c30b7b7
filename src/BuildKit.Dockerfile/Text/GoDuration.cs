using System.Globalization;
using System.Text;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Text;

/// <summary>Durations in nanoseconds, written as in <c>1m30s</c> (spec 05 §7.2).</summary>
internal static class GoDuration
{
    private const long Millisecond = 1_000_000;
    private const long Second = 1_000_000_000;

    /// <summary>Parses a duration such as <c>1h2.5s</c>.</summary>
    /// <exception cref="DockerfileException">The text is none.</exception>
    public static long Parse(string text)
    {
        var rest = text.AsSpan();
        var negative = false;
        if (rest is ['+' or '-', ..])
        {
            negative = rest[0] == '-';
            rest = rest[1..];
        }
        if (rest is "0")
            return 0;
        if (rest.IsEmpty)
            throw Invalid(text);
        Int128 total = 0;
        while (!rest.IsEmpty)
        {
            var whole = Digits(rest);
            var number = rest[..whole];
            rest = rest[whole..];
            ReadOnlySpan<char> fraction = [];
            if (rest is ['.', ..])
            {
                var length = Digits(rest[1..]);
                fraction = rest.Slice(1, length);
                rest = rest[(1 + length)..];
            }
            if (number.IsEmpty && fraction.IsEmpty)
                throw Invalid(text);
            var unitLength = rest.IndexOfAny("0123456789.");
            var unit = unitLength < 0 ? rest : rest[..unitLength];
            if (unit.IsEmpty)
                throw new DockerfileException($"time: missing unit in duration {GoQuote.Quote(text)}");
            var scale = Scale(unit) ?? throw new DockerfileException($"time: unknown unit {GoQuote.Quote(unit.ToString())} in duration {GoQuote.Quote(text)}");
            rest = rest[unit.Length..];
            if (number.Length > 19)
                throw Invalid(text);
            total += (number.IsEmpty ? 0 : Int128.Parse(number, NumberStyles.None, CultureInfo.InvariantCulture)) * scale;
            if (!fraction.IsEmpty)
                total += (long)(double.Parse("0." + fraction.ToString(), CultureInfo.InvariantCulture) * scale);
            if (total > (Int128)long.MaxValue + 1)
                throw Invalid(text);
        }
        if (!negative && total > long.MaxValue)
            throw Invalid(text);
        return (long)(negative ? -total : total);
    }

    /// <summary>Writes a duration: <c>0s</c>, <c>500ms</c>, <c>1m30s</c>.</summary>
    public static string Format(long nanoseconds)
    {
        if (nanoseconds == 0)
            return "0s";
        var value = (UInt128)Int128.Abs(nanoseconds);
        var text = new StringBuilder(nanoseconds < 0 ? "-" : "");
        if (value < Second)
        {
            var (scale, unit) = value < 1000 ? (1L, "ns") : value < Millisecond ? (1000L, "µs") : (Millisecond, "ms");
            return text.Append(Fraction(value, (ulong)scale)).Append(unit).ToString();
        }
        var seconds = value / Second;
        var hours = seconds / 3600;
        var minutes = seconds / 60 % 60;
        if (hours > 0)
            text.Append(CultureInfo.InvariantCulture, $"{hours}h");
        if (hours > 0 || minutes > 0)
            text.Append(CultureInfo.InvariantCulture, $"{minutes}m");
        return text.Append(Fraction(value % (60UL * Second), Second)).Append('s').ToString();
    }

    private static string Fraction(UInt128 value, ulong scale)
    {
        var rest = value % scale;
        var whole = (value / scale).ToString(CultureInfo.InvariantCulture);
        if (rest == 0)
            return whole;
        var digits = scale.ToString(CultureInfo.InvariantCulture).Length - 1;
        return whole + "." + rest.ToString(CultureInfo.InvariantCulture).PadLeft(digits, '0').TrimEnd('0');
    }

    private static int Digits(ReadOnlySpan<char> text)
    {
        var end = text.IndexOfAnyExceptInRange('0', '9');
        return end < 0 ? text.Length : end;
    }

    private static long? Scale(ReadOnlySpan<char> unit) => unit switch
    {
        "ns" => 1,
        "us" or "µs" or "μs" => 1000,
        "ms" => Millisecond,
        "s" => Second,
        "m" => 60 * Second,
        "h" => 3600 * Second,
        _ => null,
    };

    private static DockerfileException Invalid(string text) => new($"time: invalid duration {GoQuote.Quote(text)}");
}
