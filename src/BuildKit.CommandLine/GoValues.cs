namespace BuildKit.CommandLine;

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
