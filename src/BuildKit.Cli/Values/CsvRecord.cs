using System.Globalization;
using System.Text;

namespace BuildKit.Cli.Values;

/// <summary>One line of separated values with quoting (spec 08 §2.1).</summary>
internal static class CsvRecord
{
    /// <summary>Cuts a line into its fields.</summary>
    /// <exception cref="FormatException">It is empty or breaks the quoting rules; the text is the reference's.</exception>
    public static List<string> Parse(string text, char separator = ',')
    {
        if (text.EndsWith("\r\n", StringComparison.Ordinal))
            text = text[..^2];
        else if (text.EndsWith('\n'))
            text = text[..^1];
        if (text.Length == 0)
            throw new FormatException("EOF");
        var fields = new List<string>();
        var position = 0;
        while (true)
        {
            if (position < text.Length && text[position] == '"')
            {
                fields.Add(Quoted(text, separator, ref position));
            }
            else
            {
                var end = text.IndexOf(separator, position);
                var field = end < 0 ? text[position..] : text[position..end];
                var quote = field.IndexOf('"', StringComparison.Ordinal);
                if (quote >= 0)
                    throw Error(text, position + quote, "bare \" in non-quoted-field");
                fields.Add(field);
                position = end < 0 ? text.Length + 1 : end + 1;
            }
            if (position > text.Length)
                return fields;
        }
    }

    /// <summary>Cuts a line into fields and each at its first <c>=</c>; keys in lower case, the last one of a name counts.</summary>
    /// <exception cref="FormatException">As above, or a field without <c>=</c>.</exception>
    public static Dictionary<string, string> ParsePairs(string text)
    {
        var pairs = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var field in Parse(text))
        {
            var equals = field.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0)
                throw new FormatException($"invalid value {field}");
            pairs[field[..equals].ToLowerInvariant()] = field[(equals + 1)..];
        }
        return pairs;
    }

    private static string Quoted(string text, char separator, ref int position)
    {
        var begin = position + 1;
        var field = new StringBuilder();
        var from = begin;
        while (true)
        {
            var quote = text.IndexOf('"', from);
            if (quote < 0)
                throw Error(text, begin, "extraneous or missing \" in quoted-field");
            field.Append(text, from, quote - from);
            if (quote + 1 < text.Length && text[quote + 1] == '"')
            {
                field.Append('"');
                from = quote + 2;
                continue;
            }
            if (quote + 1 < text.Length && text[quote + 1] != separator)
                throw Error(text, quote, "extraneous or missing \" in quoted-field");
            position = quote + 2;
            return field.ToString();
        }
    }

    private static FormatException Error(string text, int index, string problem)
    {
        var column = Encoding.UTF8.GetByteCount(text.AsSpan(0, index)) + 1;
        return new FormatException(string.Create(CultureInfo.InvariantCulture, $"parse error on line 1, column {column}: {problem}"));
    }
}
