namespace BuildKit.Oci;

/// <summary>An image index or manifest list. Images have it indented, a layout's <c>index.json</c> compact; no final
/// newline (spec 07 §7.1).</summary>
/// <param name="MediaType">Media type; empty when the document names none.</param>
/// <param name="Manifests">The entries; none is written as <c>null</c>.</param>
public sealed record ImageIndex(string MediaType, IReadOnlyList<Descriptor> Manifests)
{
    /// <summary>Version of the format, always 2 for the documents written here.</summary>
    public int SchemaVersion { get; init; } = 2;

    /// <summary>Artifact type; empty when not given.</summary>
    public string ArtifactType { get; init; } = "";

    /// <summary>The manifest this index is about, if any.</summary>
    public Descriptor? Subject { get; init; }

    /// <summary>Annotations.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Reads an index; unknown keys are ignored.</summary>
    /// <exception cref="FormatException">Not an index.</exception>
    public static ImageIndex Parse(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "index");
        var index = new ImageIndex("", []) { SchemaVersion = 0 };
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Is("schemaVersion"))
                index = index with { SchemaVersion = (int)property.Number() };
            else if (property.Is("mediaType"))
                index = index with { MediaType = property.Text() };
            else if (property.Is("artifactType"))
                index = index with { ArtifactType = property.Text() };
            else if (property.Is("manifests"))
                index = index with { Manifests = property.List(Descriptor.Read) };
            else if (property.Is("subject") && property.Value.ValueKind != System.Text.Json.JsonValueKind.Null)
                index = index with { Subject = Descriptor.Read(property.Value) };
            else if (property.Is("annotations"))
                index = index with { Annotations = property.Map(entry => entry.Text()) };
        }
        return index;
    }

    /// <summary>The entry of a tag in the <c>index.json</c> of a layout: by its full name, else by its reference name; null for none.</summary>
    public Descriptor? FindTag(string tag) => Find(OciLayout.ImageNameAnnotation, tag) ?? Find(OciLayout.RefNameAnnotation, tag);

    private Descriptor? Find(string annotation, string value) => Manifests.FirstOrDefault(manifest => manifest.Annotations.TryGetValue(annotation, out var there) && there == value);

    /// <summary>The document: indented as images have it, or compact.</summary>
    public byte[] ToJson(bool indented = true)
    {
        var writer = new CanonicalJsonWriter(indented);
        writer.WriteStartObject();
        writer.WriteName("schemaVersion");
        writer.WriteNumber(SchemaVersion);
        writer.WriteText("mediaType", MediaType);
        writer.WriteText("artifactType", ArtifactType);
        WriteDescriptors(writer, "manifests", Manifests);
        if (Subject is not null)
        {
            writer.WriteName("subject");
            Subject.WriteTo(writer);
        }
        writer.WriteMap("annotations", Annotations);
        writer.WriteEndObject();
        return writer.ToArray();
    }

    internal static void WriteDescriptors(CanonicalJsonWriter writer, string name, IReadOnlyList<Descriptor> descriptors)
    {
        writer.WriteName(name);
        if (descriptors.Count == 0)
        {
            writer.WriteNull();
            return;
        }
        writer.WriteStartArray();
        foreach (var descriptor in descriptors)
            descriptor.WriteTo(writer);
        writer.WriteEndArray();
    }
}
