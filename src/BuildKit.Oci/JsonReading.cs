using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>Reads JSON as tolerantly as Go does (spec 07 §1): unknown keys are the caller's to ignore, keys match
/// without regard to case, the last of equal keys wins, null leaves the default, invalid UTF-8 is replaced.</summary>
internal static class JsonReading
{
    /// <summary>Parses a document that must be an object.</summary>
    /// <exception cref="FormatException">No JSON, or not an object; the message begins with <paramref name="what"/>.</exception>
    public static JsonDocument ParseObject(ReadOnlyMemory<byte> json, string what)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 10000 });
        }
        catch (JsonException e)
        {
            throw new FormatException($"invalid {what}: {e.Message}", e);
        }
        if (document.RootElement.ValueKind == JsonValueKind.Object)
            return document;
        var kind = document.RootElement.ValueKind;
        document.Dispose();
        throw new FormatException($"invalid {what}: expected a JSON object, found {kind}");
    }

    public static bool Is(this JsonProperty property, string name) => string.Equals(property.Name, name, StringComparison.OrdinalIgnoreCase);

    public static string Text(this JsonProperty property, string current = "") =>
        property.Value.ValueKind == JsonValueKind.Null ? current : Text(property.Value, property.Name);

    public static string Text(JsonElement element, string where)
    {
        if (element.ValueKind != JsonValueKind.String)
            throw Mismatch(where, "a string", element);
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            return DecodeLossy(JsonMarshal.GetRawUtf8Value(element)[1..^1]);
        }
    }

    public static long Number(this JsonProperty property)
    {
        if (property.Value.ValueKind == JsonValueKind.Null)
            return 0;
        if (property.Value.ValueKind == JsonValueKind.Number && property.Value.TryGetInt64(out var number))
            return number;
        throw Mismatch(property.Name, "an integer", property.Value);
    }

    public static bool Boolean(this JsonProperty property) => property.Value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False or JsonValueKind.Null => false,
        _ => throw Mismatch(property.Name, "a boolean", property.Value),
    };

    public static Rfc3339Time? Time(this JsonProperty property) =>
        property.Value.ValueKind == JsonValueKind.Null ? null : Rfc3339Time.Parse(property.Text());

    public static List<T> List<T>(this JsonProperty property, Func<JsonElement, T> read)
    {
        if (property.Value.ValueKind == JsonValueKind.Null)
            return [];
        if (property.Value.ValueKind != JsonValueKind.Array)
            throw Mismatch(property.Name, "an array", property.Value);
        return [.. property.Value.EnumerateArray().Select(read)];
    }

    public static List<string> Texts(this JsonProperty property) =>
        property.List(element => element.ValueKind == JsonValueKind.Null ? "" : Text(element, property.Name));

    public static SortedDictionary<string, T> Map<T>(this JsonProperty property, Func<JsonProperty, T> read)
    {
        var map = new SortedDictionary<string, T>(ByteOrder.Instance);
        if (property.Value.ValueKind == JsonValueKind.Null)
            return map;
        foreach (var entry in Object(property.Value, property.Name))
            map[entry.Name] = read(entry);
        return map;
    }

    public static IEnumerable<JsonProperty> Object(JsonElement element, string where) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject(),
        JsonValueKind.Null => [],
        _ => throw Mismatch(where, "an object", element),
    };

    private static FormatException Mismatch(string where, string expected, JsonElement element) =>
        new($"invalid value of {GoSyntax.Quote(where)}: expected {expected}, found {element.ValueKind}");

    /// <summary>Decodes the inside of a string that holds invalid UTF-8 or unpaired surrogates.</summary>
    private static string DecodeLossy(ReadOnlySpan<byte> inside)
    {
        var source = Encoding.UTF8.GetString(inside);
        var text = new StringBuilder(source.Length);
        for (var i = 0; i < source.Length; i++)
        {
            if (source[i] != '\\')
            {
                text.Append(source[i]);
                continue;
            }
            i++;
            switch (source[i])
            {
                case 'b': text.Append('\b'); break;
                case 'f': text.Append('\f'); break;
                case 'n': text.Append('\n'); break;
                case 'r': text.Append('\r'); break;
                case 't': text.Append('\t'); break;
                case 'u':
                    text.Append((char)Convert.ToUInt16(source.Substring(i + 1, 4), 16));
                    i += 4;
                    break;
                default: text.Append(source[i]); break;
            }
        }
        for (var i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i]))
                continue;
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
                i++;
            else
                text[i] = '\ufffd';
        }
        return text.ToString();
    }
}
