using System.Globalization;

namespace BuildKit.CommandLine;

/// <summary>Booleans as Go's strconv.ParseBool reads them.</summary>
public static class GoBool
{
    /// <summary>Reads a boolean; false when it is none.</summary>
    public static bool TryParse(string text, out bool value)
    {
        value = text is "1" or "t" or "T" or "TRUE" or "true" or "True";
        return value || text is "0" or "f" or "F" or "FALSE" or "false" or "False";
    }

    /// <summary>Reads a boolean.</summary>
    /// <exception cref="FormatException">It is none; the text is Go's.</exception>
    public static bool Parse(string text) => TryParse(text, out var value)
        ? value
        : throw new FormatException($"strconv.ParseBool: parsing \"{text}\": invalid syntax");
}

/// <summary>Integers as Go reads them with base 0: decimal, 0x, 0o, 0b, leading 0 for octal, underscores between digits.</summary>
public static class GoInt
{
    /// <summary>Reads a 64-bit integer; false when it is none.</summary>
    public static bool TryParse(string text, out long value)
    {
        value = 0;
        var negative = text.StartsWith('-');
        var digits = negative || text.StartsWith('+') ? text[1..] : text;
        var radix = 10;
        if (digits.Length > 1 && digits[0] == '0')
        {
            radix = char.ToLowerInvariant(digits[1]) switch { 'x' => 16, 'b' => 2, _ => 8 };
            digits = char.IsAsciiLetter(digits[1]) ? digits[2..] : digits[1..];
        }
        digits = digits.Replace("_", "", StringComparison.Ordinal);
        if (digits.Length == 0)
            return false;
        UInt128 number = 0;
        foreach (var c in digits)
        {
            var digit = char.IsAsciiDigit(c) ? c - '0' : char.IsAsciiHexDigit(c) ? char.ToLowerInvariant(c) - 'a' + 10 : 99;
            if (digit >= radix || (number = (number * (uint)radix) + (uint)digit) > (UInt128)long.MaxValue + 1)
                return false;
        }
        if (!negative && number > (UInt128)long.MaxValue)
            return false;
        value = negative ? (long)-(Int128)number : (long)number;
        return true;
    }

    /// <summary>Reads a 64-bit integer.</summary>
    /// <exception cref="FormatException">It is none; the text is Go's.</exception>
    public static long Parse(string text) => TryParse(text, out var value)
        ? value
        : throw new FormatException($"strconv.ParseInt: parsing \"{text}\": invalid syntax");
}

/// <summary>Durations as Go writes them: <c>300ms</c>, <c>1h2m3.5s</c>.</summary>
public static class GoDuration
{
    private static readonly (string Unit, double Nanoseconds)[] Units =
        [("ns", 1), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

    /// <summary>Reads a duration; false when it is none.</summary>
    public static bool TryParse(string text, out TimeSpan value)
    {
        value = TimeSpan.Zero;
        var rest = text.AsSpan();
        var negative = rest.StartsWith("-");
        if (negative || rest.StartsWith("+"))
            rest = rest[1..];
        if (rest is "0")
            return true;
        if (rest.IsEmpty)
            return false;
        double total = 0;
        while (!rest.IsEmpty)
        {
            var digits = 0;
            while (digits < rest.Length && (char.IsAsciiDigit(rest[digits]) || rest[digits] == '.'))
                digits++;
            if (digits == 0 || !double.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number))
                return false;
            rest = rest[digits..];
            var letters = 0;
            while (letters < rest.Length && !char.IsAsciiDigit(rest[letters]) && rest[letters] != '.')
                letters++;
            var unit = rest[..letters].ToString();
            var found = Array.Find(Units, candidate => candidate.Unit == unit);
            if (found.Unit is null)
                return false;
            total += number * found.Nanoseconds;
            rest = rest[letters..];
        }
        if (total > long.MaxValue)
            return false;
        value = TimeSpan.FromTicks((long)((negative ? -total : total) / TimeSpan.NanosecondsPerTick));
        return true;
    }

    /// <summary>Reads a duration.</summary>
    /// <exception cref="FormatException">It is none; the text is Go's.</exception>
    public static TimeSpan Parse(string text) => TryParse(text, out var value)
        ? value
        : throw new FormatException($"time: invalid duration \"{text}\"");
}
