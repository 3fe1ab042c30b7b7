using System.Globalization;
using System.Text;
using System.Text.Json;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>The JSON form of arguments (spec 05 §2.3).</summary>
internal static class JsonArray
{
    /// <summary>Reads a JSON array of strings; false when the text is no JSON array.</summary>
    /// <exception cref="DockerfileException">It is an array, but an element is no string.</exception>
    public static bool TryRead(string text, out IReadOnlyList<string> values)
    {
        values = [];
        if (!text.AsSpan().TrimStart().StartsWith("["))
            return false;
        var list = new List<string>();
        var onlyStrings = true;
        try
        {
            var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(text.TrimStart()), new JsonReaderOptions { MaxDepth = 10000 });
            while (reader.Read())
            {
                if (reader.CurrentDepth == 1 && reader.TokenType == JsonTokenType.String)
                    list.Add(Unescape(reader.ValueSpan));
                else if (reader.CurrentDepth > 0)
                    onlyStrings = false;
            }
        }
        catch (JsonException)
        {
            return false;
        }
        if (!onlyStrings)
            throw new DockerfileException("when using JSON array syntax, arrays must be comprised of strings only");
        values = list;
        return true;
    }

    /// <summary>Decodes the inside of a JSON string; half surrogates become U+FFFD.</summary>
    private static string Unescape(ReadOnlySpan<byte> raw)
    {
        var text = Encoding.UTF8.GetString(raw);
        if (!text.Contains('\\', StringComparison.Ordinal))
            return text;
        var decoded = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '\\')
            {
                decoded.Append(text[i]);
                continue;
            }
            var c = text[++i];
            if (c != 'u')
            {
                decoded.Append(c switch { 'n' => '\n', 't' => '\t', 'r' => '\r', 'b' => '\b', 'f' => '\f', _ => c });
                continue;
            }
            var unit = Hex(text, i + 1);
            i += 4;
            if (char.IsHighSurrogate(unit) && i + 6 < text.Length && text[i + 1] == '\\' && text[i + 2] == 'u' && char.IsLowSurrogate(Hex(text, i + 3)))
            {
                decoded.Append(unit).Append(Hex(text, i + 3));
                i += 6;
            }
            else
            {
                decoded.Append(char.IsSurrogate(unit) ? '\uFFFD' : unit);
            }
        }
        return decoded.ToString();
    }

    private static char Hex(string text, int at) => (char)ushort.Parse(text.AsSpan(at, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
