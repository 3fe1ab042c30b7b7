namespace BuildKit.Oci;

/// <summary>An image manifest of either family. Written indented, without final newline (spec 07 §7.1).</summary>
/// <param name="MediaType">Media type; empty when the document names none.</param>
/// <param name="Config">The config blob.</param>
/// <param name="Layers">Layers, bottom first; none is written as <c>null</c>.</param>
public sealed record Manifest(string MediaType, Descriptor Config, IReadOnlyList<Descriptor> Layers)
{
    /// <summary>Version of the format, always 2 for the documents written here.</summary>
    public int SchemaVersion { get; init; } = 2;

    /// <summary>Artifact type; empty when not given.</summary>
    public string ArtifactType { get; init; } = "";

    /// <summary>The manifest this one is about, if any.</summary>
    public Descriptor? Subject { get; init; }

    /// <summary>Annotations.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Reads a manifest; unknown keys are ignored.</summary>
    /// <exception cref="FormatException">Not a manifest.</exception>
    public static Manifest Parse(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "manifest");
        var manifest = new Manifest("", new Descriptor("", default, 0), []) { SchemaVersion = 0 };
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Is("schemaVersion"))
                manifest = manifest with { SchemaVersion = (int)property.Number() };
            else if (property.Is("mediaType"))
                manifest = manifest with { MediaType = property.Text() };
            else if (property.Is("artifactType"))
                manifest = manifest with { ArtifactType = property.Text() };
            else if (property.Is("config"))
                manifest = manifest with { Config = Descriptor.Read(property.Value) };
            else if (property.Is("layers"))
                manifest = manifest with { Layers = property.List(Descriptor.Read) };
            else if (property.Is("subject") && property.Value.ValueKind != System.Text.Json.JsonValueKind.Null)
                manifest = manifest with { Subject = Descriptor.Read(property.Value) };
            else if (property.Is("annotations"))
                manifest = manifest with { Annotations = property.Map(entry => entry.Text()) };
        }
        return manifest;
    }

    /// <summary>The document: indented as images have it, or compact.</summary>
    public byte[] ToJson(bool indented = true)
    {
        var writer = new CanonicalJsonWriter(indented);
        writer.WriteStartObject();
        writer.WriteName("schemaVersion");
        writer.WriteNumber(SchemaVersion);
        writer.WriteText("mediaType", MediaType);
        writer.WriteText("artifactType", ArtifactType);
        writer.WriteName("config");
        Config.WriteTo(writer);
        ImageIndex.WriteDescriptors(writer, "layers", Layers);
        if (Subject is not null)
        {
            writer.WriteName("subject");
            Subject.WriteTo(writer);
        }
        writer.WriteMap("annotations", Annotations);
        writer.WriteEndObject();
        return writer.ToArray();
    }
}
