namespace BuildKit.Oci;

/// <summary>Fields that are left out when empty ("omitempty", spec 07 §1).</summary>
public static class CanonicalJsonExtensions
{
    /// <summary>Writes a text field unless it is empty.</summary>
    public static void WriteText(this CanonicalJsonWriter writer, string name, string value)
    {
        if (value.Length == 0)
            return;
        writer.WriteName(name);
        writer.WriteString(value);
    }

    /// <summary>Writes a list of texts unless it is empty.</summary>
    public static void WriteStrings(this CanonicalJsonWriter writer, string name, IReadOnlyList<string> values)
    {
        if (values.Count == 0)
            return;
        writer.WriteName(name);
        writer.WriteStartArray();
        foreach (var value in values)
            writer.WriteString(value);
        writer.WriteEndArray();
    }

    /// <summary>Writes a map with sorted keys unless it is empty.</summary>
    public static void WriteMap(this CanonicalJsonWriter writer, string name, IReadOnlyDictionary<string, string> map)
    {
        if (map.Count == 0)
            return;
        writer.WriteName(name);
        writer.WriteStartObject();
        foreach (var (key, value) in map.OrderBy(pair => pair.Key, ByteOrder.Instance))
        {
            writer.WriteName(key);
            writer.WriteString(value);
        }
        writer.WriteEndObject();
    }

    /// <summary>Writes a number unless it is zero.</summary>
    public static void WriteNonZero(this CanonicalJsonWriter writer, string name, long value)
    {
        if (value == 0)
            return;
        writer.WriteName(name);
        writer.WriteNumber(value);
    }

    /// <summary>Writes <c>true</c> unless the value is false.</summary>
    public static void WriteTrue(this CanonicalJsonWriter writer, string name, bool value)
    {
        if (!value)
            return;
        writer.WriteName(name);
        writer.WriteBoolean(true);
    }
}
