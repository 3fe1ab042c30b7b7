namespace BuildKit.Oci;

/// <summary>A reference to a blob: what it is, its digest and its size (OCI descriptor).</summary>
/// <param name="MediaType">Media type of the blob.</param>
/// <param name="Digest">Digest of the blob's bytes.</param>
/// <param name="Size">Size in bytes.</param>
public sealed record Descriptor(string MediaType, Digest Digest, long Size)
{
    /// <summary>Alternative download locations (foreign layers).</summary>
    public IReadOnlyList<string> Urls { get; init; } = [];

    /// <summary>Annotations; keys are unique.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>The platform an index entry is for, if any.</summary>
    public Platform? Platform { get; init; }

    /// <summary>Artifact type of the manifest behind the descriptor; empty when not given.</summary>
    public string ArtifactType { get; init; } = "";
}
