namespace BuildKit.Oci;

/// <summary>Finds out what a document is by its content, where its declared type is not to be trusted.</summary>
public static class ManifestContent
{
    /// <summary>
    /// The media type of a manifest or index: decided by the keys present; an explicit known type must agree; without
    /// one the Docker types are reported (spec 04 §7.2, spec 07 §12.6).
    /// </summary>
    /// <exception cref="FormatException">Not JSON, both kinds at once, or the explicit type contradicts the content.</exception>
    public static string DetectMediaType(ReadOnlyMemory<byte> json)
    {
        using var document = JsonReading.ParseObject(json, "manifest");
        string? explicitType = null;
        var (isManifest, hasManifests) = (false, false);
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Is("mediaType"))
                explicitType = property.Value.ValueKind == System.Text.Json.JsonValueKind.Null ? null : property.Text();
            else if (property.Is("config") || property.Is("layers"))
                isManifest = true;
            else if (property.Is("manifests"))
                hasManifests = true;
        }
        if (isManifest && hasManifests)
            throw new FormatException("invalid ambiguous manifest and manifest list");
        if (explicitType is null || (!MediaTypes.IsManifest(explicitType) && !MediaTypes.IsIndex(explicitType)))
            return isManifest ? MediaTypes.DockerManifest : MediaTypes.DockerManifestList;
        if (MediaTypes.IsManifest(explicitType) != isManifest)
            throw new FormatException("mediaType in manifest does not match manifest contents");
        return explicitType;
    }

    /// <summary>The descriptors a document of this type refers to, in the order of the document: an index's manifests, a
    /// manifest's config and then layers; nothing for other types.</summary>
    /// <exception cref="FormatException">The document is not what its type says.</exception>
    public static IReadOnlyList<Descriptor> Children(string mediaType, ReadOnlyMemory<byte> json)
    {
        if (MediaTypes.IsIndex(mediaType))
            return ImageIndex.Parse(json).Manifests;
        if (!MediaTypes.IsManifest(mediaType))
            return [];
        var manifest = Manifest.Parse(json);
        return [manifest.Config, .. manifest.Layers];
    }
}
