using System.Globalization;
using System.Text;

namespace BuildKit.Registry.Http;

/// <summary>Form-encoded fields as Go writes them: keys sorted, blank as <c>+</c>.</summary>
internal static class FormEncoding
{
    public static string Encode(IEnumerable<KeyValuePair<string, string>> fields) =>
        string.Join('&', fields.OrderBy(field => field.Key, StringComparer.Ordinal).Select(field => $"{Escape(field.Key)}={Escape(field.Value)}"));

    /// <summary>Adds fields to a URL's query; the whole query is written again, sorted.</summary>
    public static string AddQuery(string url, params IEnumerable<KeyValuePair<string, string>> added)
    {
        var hash = url.IndexOf('#', StringComparison.Ordinal);
        var bare = hash < 0 ? url : url[..hash];
        var question = bare.IndexOf('?', StringComparison.Ordinal);
        var existing = question < 0 ? [] : Parse(bare[(question + 1)..]);
        return $"{(question < 0 ? bare : bare[..question])}?{Encode(existing.Concat(added))}";
    }

    private static IEnumerable<KeyValuePair<string, string>> Parse(string query)
    {
        foreach (var part in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            yield return equals < 0 ? new(Unescape(part), "") : new(Unescape(part[..equals]), Unescape(part[(equals + 1)..]));
        }
    }

    private static string Unescape(string text) => Uri.UnescapeDataString(text.Replace('+', ' '));

    private static string Escape(string text)
    {
        var escaped = new StringBuilder(text.Length);
        foreach (var value in Encoding.UTF8.GetBytes(text))
        {
            if (char.IsAsciiLetterOrDigit((char)value) || value is (byte)'-' or (byte)'_' or (byte)'.' or (byte)'~')
                escaped.Append((char)value);
            else if (value == ' ')
                escaped.Append('+');
            else
                escaped.Append(CultureInfo.InvariantCulture, $"%{value:X2}");
        }
        return escaped.ToString();
    }
}
