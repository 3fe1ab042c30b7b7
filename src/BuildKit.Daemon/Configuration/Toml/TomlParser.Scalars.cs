using System.Globalization;
using System.Text.RegularExpressions;

namespace BuildKit.Daemon.Configuration.Toml;

public sealed partial class TomlParser
{
    [GeneratedRegex(@"^[+-]?(0|[1-9](_?[0-9])*)$", RegexOptions.CultureInvariant)]
    private static partial Regex DecimalInteger { get; }

    [GeneratedRegex(@"^0(x[0-9A-Fa-f](_?[0-9A-Fa-f])*|o[0-7](_?[0-7])*|b[01](_?[01])*)$", RegexOptions.CultureInvariant)]
    private static partial Regex PrefixedInteger { get; }

    [GeneratedRegex(@"^[+-]?(0|[1-9](_?[0-9])*)(\.[0-9](_?[0-9])*)?([eE][+-]?[0-9](_?[0-9])*)?$", RegexOptions.CultureInvariant)]
    private static partial Regex Float { get; }

    [GeneratedRegex(@"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})?(?<sep>[Tt ])?(?<time>[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?)?(?<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?$", RegexOptions.CultureInvariant)]
    private static partial Regex DateTimeParts { get; }

    private object ParseScalar()
    {
        var start = _at;
        while (IsScalarCharacter(Current))
            _at++;
        // A space may stand between the date and the time.
        if (_at - start == 10 && Current == ' ' && _at + 1 < _text.Length && char.IsAsciiDigit(_text[_at + 1]) && _text[start + 4] == '-')
        {
            _at++;
            while (IsScalarCharacter(Current))
                _at++;
        }
        var text = _text[start.._at];
        if (text.Length == 0)
            throw Error(AtEnd ? "expected a value, found the end" : $"expected a value, found '{Printable(Current)}'");
        return text switch
        {
            "true" => true,
            "false" => false,
            "inf" or "+inf" => double.PositiveInfinity,
            "-inf" => double.NegativeInfinity,
            "nan" or "+nan" or "-nan" => double.NaN,
            _ => ParseNumber(text, start) ?? ParseDateTime(text, start) ?? throw Error($"\"{text}\" is no value", start),
        };
    }

    private static bool IsScalarCharacter(char c) => char.IsAsciiLetterOrDigit(c) || c is '+' or '-' or '_' or '.' or ':';

    private object? ParseNumber(string text, int start)
    {
        var digits = text.Replace("_", "", StringComparison.Ordinal);
        if (DecimalInteger.IsMatch(text))
            return long.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
                ? value
                : throw Error($"integer {text} does not fit in 64 bits", start);
        if (PrefixedInteger.IsMatch(text))
        {
            var radix = text[1] switch { 'x' => 16, 'o' => 8, _ => 2 };
            try
            {
                var number = Convert.ToInt64(digits[2..], radix);
                return number >= 0 ? number : throw Error($"integer {text} does not fit in 64 bits", start);
            }
            catch (OverflowException)
            {
                throw Error($"integer {text} does not fit in 64 bits", start);
            }
        }
        return Float.IsMatch(text) ? double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture) : null;
    }

    private TomlDateTime? ParseDateTime(string text, int start)
    {
        var match = DateTimeParts.Match(text);
        if (!match.Success)
            return null;
        var (date, separator, time, zone) = (match.Groups["date"], match.Groups["sep"], match.Groups["time"], match.Groups["zone"]);
        if (separator.Success != (date.Success && time.Success) || (zone.Success && !(date.Success && time.Success)) || !(date.Success || time.Success))
            return null;
        if (date.Success && !DateOnly.TryParseExact(date.Value, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out _))
            throw Error($"{date.Value} is no date", start);
        if (time.Success && !IsTime(time.Value))
            throw Error($"{time.Value} is no time of day", start);
        if (zone.Success && zone.Length > 1 && !IsTime(zone.Value[1..] + ":00"))
            throw Error($"{zone.Value} is no offset", start);
        var kind = zone.Success ? TomlDateTimeKind.OffsetDateTime
            : !time.Success ? TomlDateTimeKind.LocalDate
            : date.Success ? TomlDateTimeKind.LocalDateTime
            : TomlDateTimeKind.LocalTime;
        return new TomlDateTime(date.Value + (separator.Success ? "T" : "") + time.Value + zone.Value.ToUpperInvariant(), kind);
    }

    private static bool IsTime(string text) =>
        int.Parse(text.AsSpan(0, 2), CultureInfo.InvariantCulture) <= 23 &&
        int.Parse(text.AsSpan(3, 2), CultureInfo.InvariantCulture) <= 59 &&
        int.Parse(text.AsSpan(6, 2), CultureInfo.InvariantCulture) <= 59;
}
