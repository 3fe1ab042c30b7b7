using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>Package URLs of images (spec 07 §9.3).</summary>
public static class PackageUrl
{
    /// <summary>The package URL of an image, <c>pkg:docker/NAME@TAG?digest=…&amp;platform=…</c>.</summary>
    /// <param name="type"><c>docker</c>, or <c>oci</c> for images of a layout.</param>
    /// <param name="name">The image, as users write it.</param>
    /// <param name="platform">Its platform, if known.</param>
    /// <exception cref="FormatException">Not an image name.</exception>
    public static string OfImage(string type, string name, Platform? platform)
    {
        ImageReference reference;
        try
        {
            reference = ImageReference.ParseWithDefaultTag(name);
        }
        catch (FormatException e)
        {
            throw new FormatException($"failed to parse ref {GoSyntax.Quote(name)}: {e.Message}", e);
        }
        var url = $"pkg:{type}/{string.Join('/', reference.FamiliarName.Split('/').Select(Uri.EscapeDataString))}";
        if (reference.Tag.Length > 0)
            url += "@" + Uri.EscapeDataString(reference.Tag);
        var qualifiers = new List<string>();
        if (!reference.Digest.IsEmpty)
            qualifiers.Add($"digest={reference.Digest}");
        if (platform is not null)
            qualifiers.Add("platform=" + Uri.EscapeDataString(platform.Normalize().Format()));
        return qualifiers.Count == 0 ? url : $"{url}?{string.Join('&', qualifiers)}";
    }
}
