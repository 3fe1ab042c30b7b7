using System.Text.RegularExpressions;

namespace BuildKit.Oci.Assembly;

/// <summary>Where an annotation lands (spec 07 §4).</summary>
public enum AnnotationTarget
{
    /// <summary>The image manifest.</summary>
    Manifest,
    /// <summary>The descriptor of the manifest: in the index, or the returned one for a single manifest.</summary>
    ManifestDescriptor,
    /// <summary>The index.</summary>
    Index,
    /// <summary>The returned descriptor of the index.</summary>
    IndexDescriptor,
}

/// <summary>An exporter attribute that sets an annotation: <c>annotation[-type][[platform]].key</c> (spec 07 §4).</summary>
/// <param name="Target">Where it lands.</param>
/// <param name="Platform">The platform it is for; null for all. Meaningless for index targets.</param>
/// <param name="Key">The annotation's key.</param>
public sealed partial record AnnotationKey(AnnotationTarget Target, Platform? Platform, string Key)
{
    /// <summary>Parses an attribute key; null when it is an ordinary attribute.</summary>
    /// <exception cref="FormatException">An annotation of unknown type or for no valid platform.</exception>
    public static AnnotationKey? TryParse(string attribute)
    {
        var match = Grammar().Match(attribute);
        if (!match.Success)
            return null;
        var target = match.Groups["type"].Value switch
        {
            "" or "manifest" => AnnotationTarget.Manifest,
            "manifest-descriptor" => AnnotationTarget.ManifestDescriptor,
            "index" => AnnotationTarget.Index,
            "index-descriptor" => AnnotationTarget.IndexDescriptor,
            var other => throw new FormatException($"unrecognized annotation type {other}"),
        };
        var platform = match.Groups["platform"].Value;
        return new AnnotationKey(target, platform.Length == 0 ? null : Platform.Parse(platform), match.Groups["key"].Value);
    }

    [GeneratedRegex(@"\Aannotation(?:-(?<type>[a-z-]+))?(?:\[(?<platform>[A-Za-z0-9_/-]+)\])?\.(?<key>\S+)\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Grammar();
}
