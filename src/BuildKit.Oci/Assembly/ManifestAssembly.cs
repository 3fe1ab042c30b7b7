namespace BuildKit.Oci.Assembly;

/// <summary>A document and the descriptor that refers to it.</summary>
/// <param name="Descriptor">Type, digest and size of the bytes.</param>
/// <param name="Json">The bytes.</param>
public sealed record AssembledDocument(Descriptor Descriptor, byte[] Json);

/// <summary>One in-toto statement of an attestation manifest.</summary>
/// <param name="PredicateType">Type of its predicate.</param>
/// <param name="Json">The statement, compact.</param>
public sealed record AttestationStatement(string PredicateType, byte[] Json);

/// <summary>Makes manifests, attestation manifests and indexes (spec 07 §7.6, §7.7). Writes nothing: the caller stores the bytes.</summary>
public static class ManifestAssembly
{
    /// <summary>Annotation of the uncompressed digest of a layer.</summary>
    public const string UncompressedAnnotation = "containerd.io/uncompressed";

    private const string CreatedAtAnnotation = "buildkit/createdat";
    private const string SourceAnnotationPrefix = "containerd.io/distribution.source.";

    /// <summary>A layer descriptor as it stands in a manifest: media type of the family, internal annotations gone (all of them for
    /// Docker types), no platform.</summary>
    public static Descriptor Layer(Descriptor layer, bool oci) => new(MediaTypes.ConvertLayer(layer.MediaType, oci) ?? layer.MediaType, layer.Digest, layer.Size)
    {
        Urls = layer.Urls,
        Annotations = oci
            ? layer.Annotations.Where(annotation => annotation.Key is not (UncompressedAnnotation or CreatedAtAnnotation)
                    && !annotation.Key.StartsWith(SourceAnnotationPrefix, StringComparison.Ordinal))
                .ToDictionary(StringComparer.Ordinal)
            : new Dictionary<string, string>(StringComparer.Ordinal),
    };

    /// <summary>An image manifest.</summary>
    /// <param name="oci">Family of media types.</param>
    /// <param name="configJson">The config's final bytes.</param>
    /// <param name="layers">Layers, bottom first; converted as <see cref="Layer"/> does.</param>
    /// <param name="annotations">Annotations of the manifest.</param>
    /// <returns>Manifest and config.</returns>
    public static (AssembledDocument Manifest, AssembledDocument Config) Image(
        bool oci, byte[] configJson, IEnumerable<Descriptor> layers, IReadOnlyDictionary<string, string> annotations)
    {
        var config = new AssembledDocument(Descriptor.Of(MediaTypes.Config(oci), configJson), configJson);
        var json = new Manifest(MediaTypes.Manifest(oci), config.Descriptor, [.. layers.Select(layer => Layer(layer, oci))]) { Annotations = annotations }.ToJson();
        return (new AssembledDocument(Descriptor.Of(MediaTypes.Manifest(oci), json), json), config);
    }

    /// <summary>An attestation manifest about an image manifest.</summary>
    /// <param name="image">Descriptor of the image manifest, with platform and annotations.</param>
    /// <param name="statements">The statements, in order.</param>
    /// <param name="asArtifact">The form with artifact type and subject (<c>oci-artifact=true</c>).</param>
    /// <returns>The manifest (its descriptor as it stands in the index), its config and the statements' blobs.</returns>
    public static (AssembledDocument Manifest, AssembledDocument Config, IReadOnlyList<AssembledDocument> Layers) Attestation(
        Descriptor image, IReadOnlyList<AttestationStatement> statements, bool asArtifact)
    {
        var layers = statements.Select(statement => new AssembledDocument(
            Descriptor.Of(MediaTypes.InToto, statement.Json) with
            {
                Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { ["in-toto.io/predicate-type"] = statement.PredicateType },
            },
            statement.Json)).ToList();
        byte[] configJson = asArtifact
            ? [.. "{}"u8]
            : new ImageConfig { Platform = new Platform("unknown", "unknown"), DiffIds = [.. layers.Select(layer => layer.Descriptor.Digest)] }.ToJson();
        var config = Descriptor.Of(asArtifact ? MediaTypes.OciEmptyJson : MediaTypes.OciConfig, configJson);
        var manifest = new Manifest(MediaTypes.OciManifest, asArtifact ? config with { Data = configJson } : config, [.. layers.Select(layer => layer.Descriptor)])
        {
            ArtifactType = asArtifact ? MediaTypes.AttestationManifest : "",
            Subject = asArtifact ? image : null,
        };
        var json = manifest.ToJson();
        var descriptor = Descriptor.Of(MediaTypes.OciManifest, json) with
        {
            Annotations = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["vnd.docker.reference.digest"] = image.Digest.ToString(),
                ["vnd.docker.reference.type"] = "attestation-manifest",
            },
            Platform = new Platform("unknown", "unknown"),
        };
        return (new AssembledDocument(descriptor, json), new AssembledDocument(config, configJson), layers);
    }

    /// <summary>An index: images in the order of the platforms, then their attestation manifests in the same order.</summary>
    public static AssembledDocument Index(bool oci, IEnumerable<Descriptor> images, IEnumerable<Descriptor> attestations, IReadOnlyDictionary<string, string> annotations)
    {
        var json = new ImageIndex(MediaTypes.Index(oci), [.. images, .. attestations]) { Annotations = annotations }.ToJson();
        return new AssembledDocument(Descriptor.Of(MediaTypes.Index(oci), json), json);
    }
}
