using System.Globalization;
using System.Text;

namespace BuildKit.Dockerfile.Text;

/// <summary>Quoting as history entries and messages carry it: Go's <c>%q</c> (spec 05 §7.2).</summary>
internal static class GoQuote
{
    /// <summary>A text in double quotes.</summary>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
            Append(quoted, rune, '"');
        return quoted.Append('"').ToString();
    }

    /// <summary>A list of texts: <c>["a" "b"]</c>.</summary>
    public static string QuoteList(IEnumerable<string> texts) => "[" + string.Join(' ', texts.Select(Quote)) + "]";

    /// <summary>A number as the quoted character with that code.</summary>
    public static string QuoteCharacter(long code)
    {
        var rune = code is >= 0 and <= 0x10FFFF && Rune.IsValid((int)code) ? new Rune((int)code) : Rune.ReplacementChar;
        var quoted = new StringBuilder("'");
        Append(quoted, rune, '\'');
        return quoted.Append('\'').ToString();
    }

    private static void Append(StringBuilder quoted, Rune rune, char quote)
    {
        var code = rune.Value;
        if (code == quote || code == '\\')
            quoted.Append('\\').Append((char)code);
        else if (IsPrintable(rune))
            quoted.Append(rune.ToString());
        else if (code is >= 7 and <= 13)
            quoted.Append('\\').Append("abtnvfr"[code - 7]);
        else if (code < ' ' || code == 0x7F)
            quoted.Append("\\x").Append(code.ToString("x2", CultureInfo.InvariantCulture));
        else if (code < 0x10000)
            quoted.Append("\\u").Append(code.ToString("x4", CultureInfo.InvariantCulture));
        else
            quoted.Append("\\U").Append(code.ToString("x8", CultureInfo.InvariantCulture));
    }

    private static bool IsPrintable(Rune rune) => rune.Value == ' ' || Rune.GetUnicodeCategory(rune) is not
        (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse
        or UnicodeCategory.OtherNotAssigned or UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator
        or UnicodeCategory.ParagraphSeparator);
}
