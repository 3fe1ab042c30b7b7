using System.Text.Json;

namespace BuildKit.Oci;

/// <content>The JSON form of a platform.</content>
public sealed partial record Platform
{
    /// <summary>Reads the JSON form; nothing is normalised.</summary>
    /// <exception cref="FormatException">Not a platform.</exception>
    public static Platform ParseJson(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "platform");
        return Read(document.RootElement);
    }

    /// <summary>Writes <c>architecture os os.version? os.features? variant?</c> (spec 07 §7.1).</summary>
    public void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        WriteFieldsTo(writer);
        writer.WriteEndObject();
    }

    internal void WriteFieldsTo(CanonicalJsonWriter writer)
    {
        writer.WriteName("architecture");
        writer.WriteString(Architecture);
        writer.WriteName("os");
        writer.WriteString(Os);
        writer.WriteText("os.version", OsVersion);
        writer.WriteStrings("os.features", OsFeatures);
        writer.WriteText("variant", Variant);
    }

    internal static Platform Read(JsonElement element)
    {
        var platform = new Platform("", "");
        foreach (var property in JsonReading.Object(element, "platform"))
            platform = platform.WithField(property);
        return platform;
    }

    internal Platform WithField(JsonProperty property) =>
        property.Is("os") ? this with { Os = property.Text(Os) }
        : property.Is("architecture") ? this with { Architecture = property.Text(Architecture) }
        : property.Is("variant") ? this with { Variant = property.Text(Variant) }
        : property.Is("os.version") ? this with { OsVersion = property.Text(OsVersion) }
        : property.Is("os.features") ? this with { OsFeatures = property.Texts() }
        : this;
}
