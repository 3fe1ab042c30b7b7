using System.Globalization;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Text;

/// <summary>Numbers and booleans with the syntax and the messages users know from the reference.</summary>
internal static class GoNumber
{
    /// <summary>Parses <c>1 t T TRUE true True</c> or <c>0 f F FALSE false False</c>; null for anything else.</summary>
    public static bool? ParseBool(string text) => text switch
    {
        "1" or "t" or "T" or "TRUE" or "true" or "True" => true,
        "0" or "f" or "F" or "FALSE" or "false" or "False" => false,
        _ => null,
    };

    /// <summary>Parses a signed decimal number of 32 or 64 bits.</summary>
    /// <exception cref="DockerfileException">Not a number or out of range.</exception>
    public static long ParseInt(string text, int bits = 64, string function = "ParseInt")
    {
        var digits = text.AsSpan(text is ['+' or '-', ..] ? 1 : 0);
        if (digits.IsEmpty || digits.ContainsAnyExceptInRange('0', '9'))
            throw new DockerfileException($"strconv.{function}: parsing {GoQuote.Quote(text)}: invalid syntax");
        if (!long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            || (bits == 32 && value is < int.MinValue or > int.MaxValue))
        {
            throw new DockerfileException($"strconv.{function}: parsing {GoQuote.Quote(text)}: value out of range");
        }
        return value;
    }

    /// <summary>Parses an unsigned number of 32 bits in base 8 or 10; null when it is none.</summary>
    public static uint? ParseUInt32(string text, int @base)
    {
        if (text.Length == 0)
            return null;
        ulong value = 0;
        foreach (var c in text)
        {
            if (c < '0' || c >= '0' + @base)
                return null;
            value = (value * (ulong)@base) + (ulong)(c - '0');
            if (value > uint.MaxValue)
                return null;
        }
        return (uint)value;
    }

    /// <summary>Parses an optionally signed decimal stage number; null when the text is none.</summary>
    public static long? ParseIndex(string text)
    {
        var digits = text.AsSpan(text is ['+' or '-', ..] ? 1 : 0);
        if (digits.IsEmpty || digits.ContainsAnyExceptInRange('0', '9'))
            return null;
        return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value : null;
    }

    /// <summary>Parses a size with an optional unit, 1024 based: <c>64m</c>, <c>1.5g</c>, <c>10 KiB</c>;
    /// null when it is none.</summary>
    public static long? ParseSize(string text)
    {
        var end = text.AsSpan().LastIndexOfAny("0123456789. ");
        if (end < 0)
            return null;
        string number, unit;
        if (text[end] != ' ')
        {
            number = text[..(end + 1)];
            unit = text[(end + 1)..];
        }
        else
        {
            number = text[..end];
            unit = text[(end + 1)..];
        }
        if (!double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var size))
            return null;
        unit = unit.ToLowerInvariant();
        if (unit.Length == 0 || unit is "b")
            return (long)size;
        var power = "kmgtp".IndexOf(unit[0], StringComparison.Ordinal);
        if (power < 0 || unit[1..] is not ("" or "b" or "ib"))
            return null;
        return (long)(size * Math.Pow(1024, power + 1));
    }
}
