using System.Globalization;
using System.Text;

namespace BuildKit.Worker.Executor;

/// <summary>Quotes text the way the reference's messages do (Go's <c>%q</c>).</summary>
public static class GoQuote
{
    /// <summary>The text in double quotes, control characters escaped, printable Unicode kept.</summary>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '"': quoted.Append("\\\""); break;
                case '\\': quoted.Append("\\\\"); break;
                case '\a': quoted.Append("\\a"); break;
                case '\b': quoted.Append("\\b"); break;
                case '\f': quoted.Append("\\f"); break;
                case '\n': quoted.Append("\\n"); break;
                case '\r': quoted.Append("\\r"); break;
                case '\t': quoted.Append("\\t"); break;
                case '\v': quoted.Append("\\v"); break;
                default: Append(quoted, rune); break;
            }
        }
        return quoted.Append('"').ToString();
    }

    private static void Append(StringBuilder quoted, Rune rune)
    {
        if (rune.Value is < 0x20 or 0x7f)
            quoted.Append(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}");
        else if (IsPrintable(rune))
            quoted.Append(rune.ToString());
        else if (rune.Value <= 0xffff)
            quoted.Append(CultureInfo.InvariantCulture, $"\\u{rune.Value:x4}");
        else
            quoted.Append(CultureInfo.InvariantCulture, $"\\U{rune.Value:x8}");
    }

    private static bool IsPrintable(Rune rune) => rune.Value == ' ' || Rune.GetUnicodeCategory(rune) is not (
        UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or
        UnicodeCategory.OtherNotAssigned or UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator or
        UnicodeCategory.ParagraphSeparator);
}
