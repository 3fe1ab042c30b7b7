using System.Runtime.InteropServices;
using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>A JSON object of which only the top-level keys are understood; the values stay as they came. Written compact
/// with its keys sorted, as the exporter writes image configs (spec 07 §7.5).</summary>
public sealed class RawJsonObject
{
    private readonly SortedDictionary<string, byte[]> _values = new(ByteOrder.Instance);

    /// <summary>The keys, sorted.</summary>
    public IReadOnlyCollection<string> Keys => _values.Keys;

    /// <summary>Reads an object; of equal keys the last wins. Keys are told apart by case.</summary>
    /// <exception cref="FormatException">Not a JSON object.</exception>
    public static RawJsonObject Parse(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "JSON object");
        var result = new RawJsonObject();
        foreach (var property in document.RootElement.EnumerateObject())
            result._values[property.Name] = JsonMarshal.GetRawUtf8Value(property.Value).ToArray();
        return result;
    }

    /// <summary>The JSON text of a value; null when the key is absent.</summary>
    public ReadOnlyMemory<byte>? Get(string key) => _values.TryGetValue(key, out var value) ? value : (ReadOnlyMemory<byte>?)null;

    /// <summary>Sets a value to JSON text.</summary>
    public void Set(string key, byte[] json) => _values[key] = json;

    /// <summary>Sets a value by writing it.</summary>
    public void Set(string key, Action<CanonicalJsonWriter> write)
    {
        var writer = new CanonicalJsonWriter();
        write(writer);
        _values[key] = writer.ToArray();
    }

    /// <summary>Removes a key; false when it was absent.</summary>
    public bool Remove(string key) => _values.Remove(key);

    /// <summary>The object, compact, keys sorted bytewise, values in their own order, HTML escaped.</summary>
    public byte[] ToJson()
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartObject();
        foreach (var (key, value) in _values)
        {
            writer.WriteName(key);
            writer.WriteRaw(value);
        }
        writer.WriteEndObject();
        return writer.ToArray();
    }
}
