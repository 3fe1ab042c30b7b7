using System.Globalization;
using System.Text;

namespace BuildKit.Oci;

/// <summary>Text forms of Go that appear in messages and documents of the ecosystem.</summary>
public static class GoSyntax
{
    /// <summary>The text as a Go string literal (verb <c>%q</c>), spec 05 §7.2.</summary>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '"': quoted.Append("\\\""); break;
                case '\\': quoted.Append("\\\\"); break;
                case 7: quoted.Append("\\a"); break;
                case 8: quoted.Append("\\b"); break;
                case 9: quoted.Append("\\t"); break;
                case 10: quoted.Append("\\n"); break;
                case 11: quoted.Append("\\v"); break;
                case 12: quoted.Append("\\f"); break;
                case 13: quoted.Append("\\r"); break;
                default:
                    if (IsPrintable(rune))
                        quoted.Append(rune.ToString());
                    else if (rune.Value < 0x80)
                        quoted.Append(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}");
                    else if (rune.Value < 0x10000)
                        quoted.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}");
                    else
                        quoted.Append(CultureInfo.InvariantCulture, $"\\U{rune.Value:x8}");
                    break;
            }
        }
        return quoted.Append('"').ToString();
    }

    /// <summary>Go's <c>strconv.ParseBool</c>: exactly <c>1 t T TRUE true True 0 f F FALSE false False</c>.</summary>
    /// <returns>Null when the text is none of them.</returns>
    public static bool? ParseBool(string text) => text switch
    {
        "1" or "t" or "T" or "TRUE" or "true" or "True" => true,
        "0" or "f" or "F" or "FALSE" or "false" or "False" => false,
        _ => null,
    };

    /// <summary>What Go says of a text that <see cref="ParseBool"/> does not read.</summary>
    public static string BoolError(string text) => $"strconv.ParseBool: parsing {Quote(text)}: invalid syntax";

    /// <summary>Go's <c>strconv.ParseInt</c> in base 10: a number of 64 bits, with a sign or without.</summary>
    /// <param name="text">The text.</param>
    /// <param name="error">What Go says when it is none.</param>
    /// <returns>Null when the text is none.</returns>
    public static long? ParseInt(string text, out string error)
    {
        error = "";
        var digits = text.AsSpan(text is ['+' or '-', ..] ? 1 : 0);
        var isNumber = !digits.IsEmpty && !digits.ContainsAnyExceptInRange('0', '9');
        if (isNumber && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
            return number;
        error = $"strconv.ParseInt: parsing {Quote(text)}: {(isNumber ? "value out of range" : "invalid syntax")}";
        return null;
    }

    private static bool IsPrintable(Rune rune)
    {
        if (rune.Value < 0x80)
            return rune.Value is >= 0x20 and < 0x7f;
        return Rune.GetUnicodeCategory(rune) is not (UnicodeCategory.Control or UnicodeCategory.Format
            or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
            or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);
    }
}
