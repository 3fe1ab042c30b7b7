using System.Text.Json;

namespace BuildKit.Oci;

/// <summary>A reference to a blob: what it is, its digest and its size (OCI descriptor). Equal when all parts are equal.</summary>
/// <param name="MediaType">Media type of the blob.</param>
/// <param name="Digest">Digest of the blob's bytes.</param>
/// <param name="Size">Size in bytes.</param>
public sealed record Descriptor(string MediaType, Digest Digest, long Size)
{
    /// <summary>Alternative download locations (foreign layers).</summary>
    public IReadOnlyList<string> Urls { get; init; } = [];

    /// <summary>Annotations; keys are unique.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>The blob itself, when it is embedded; empty when not.</summary>
    public ReadOnlyMemory<byte> Data { get; init; }

    /// <summary>The platform an index entry is for, if any.</summary>
    public Platform? Platform { get; init; }

    /// <summary>Artifact type of the manifest behind the descriptor; empty when not given.</summary>
    public string ArtifactType { get; init; } = "";

    /// <summary>The descriptor of bytes.</summary>
    public static Descriptor Of(string mediaType, ReadOnlySpan<byte> blob) => new(mediaType, Digest.Sha256(blob), blob.Length);

    /// <summary>Reads the JSON form.</summary>
    /// <exception cref="FormatException">Not a descriptor.</exception>
    public static Descriptor Parse(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "descriptor");
        return Read(document.RootElement);
    }

    /// <summary>The compact or indented JSON form.</summary>
    public byte[] ToJson(bool indented = false)
    {
        var writer = new CanonicalJsonWriter(indented);
        WriteTo(writer);
        return writer.ToArray();
    }

    /// <summary>Writes the JSON form: <c>mediaType digest size urls? annotations? data? platform? artifactType?</c> (spec 07 §7.1).</summary>
    public void WriteTo(CanonicalJsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteName("mediaType");
        writer.WriteString(MediaType);
        writer.WriteName("digest");
        writer.WriteString(Digest.ToString());
        writer.WriteName("size");
        writer.WriteNumber(Size);
        writer.WriteStrings("urls", Urls);
        writer.WriteMap("annotations", Annotations);
        if (!Data.IsEmpty)
        {
            writer.WriteName("data");
            writer.WriteBase64(Data.Span);
        }
        if (Platform is not null)
        {
            writer.WriteName("platform");
            Platform.WriteTo(writer);
        }
        writer.WriteText("artifactType", ArtifactType);
        writer.WriteEndObject();
    }

    /// <inheritdoc/>
    public bool Equals(Descriptor? other) =>
        other is not null && MediaType == other.MediaType && Digest == other.Digest && Size == other.Size
        && ArtifactType == other.ArtifactType && Equals(Platform, other.Platform) && Data.Span.SequenceEqual(other.Data.Span)
        && Urls.SequenceEqual(other.Urls, StringComparer.Ordinal) && Annotations.Count == other.Annotations.Count
        && Annotations.All(pair => other.Annotations.TryGetValue(pair.Key, out var value) && value == pair.Value);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(MediaType, Digest, Size, ArtifactType, Platform, Annotations.Count);

    internal static Descriptor Read(JsonElement element)
    {
        var descriptor = new Descriptor("", default, 0);
        foreach (var property in JsonReading.Object(element, "descriptor"))
        {
            if (property.Is("mediaType"))
                descriptor = descriptor with { MediaType = property.Text() };
            else if (property.Is("digest"))
                descriptor = descriptor with { Digest = ReadDigest(property.Text()) };
            else if (property.Is("size"))
                descriptor = descriptor with { Size = property.Number() };
            else if (property.Is("urls"))
                descriptor = descriptor with { Urls = property.Texts() };
            else if (property.Is("annotations"))
                descriptor = descriptor with { Annotations = property.Map(entry => entry.Text()) };
            else if (property.Is("data"))
                descriptor = descriptor with { Data = ReadBase64(property.Text()) };
            else if (property.Is("platform") && property.Value.ValueKind != JsonValueKind.Null)
                descriptor = descriptor with { Platform = Platform.Read(property.Value) };
            else if (property.Is("artifactType"))
                descriptor = descriptor with { ArtifactType = property.Text() };
        }
        return descriptor;
    }

    private static Digest ReadDigest(string text) => text.Length == 0 ? default : Digest.Parse(text);

    private static byte[] ReadBase64(string text) => Convert.FromBase64String(text);
}
