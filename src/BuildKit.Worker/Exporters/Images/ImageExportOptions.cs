using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Storage.Layers;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Attributes that <c>image</c>, <c>oci</c> and <c>docker</c> share (spec 07 §3).</summary>
internal sealed class ImageExportOptions
{
    /// <summary>Names, comma-separated; empty for none.</summary>
    public string Name { get; private set; } = "";

    /// <summary>Whether OCI media types are wanted; the content of an image may force them.</summary>
    public bool OciTypes { get; private set; }

    /// <summary>Attestation manifests in artifact form.</summary>
    public bool OciArtifact { get; private set; }

    /// <summary>Whether attestations that are only for images inline count.</summary>
    public bool InlineAttestations { get; private set; }

    /// <summary>Whether times inside layers are clamped to the epoch.</summary>
    public bool RewriteTimestamp { get; private set; }

    /// <summary>The epoch, if set by attribute.</summary>
    public Rfc3339Time? Epoch { get; private set; }

    /// <summary>Form of the layers.</summary>
    public CompressionOptions Compression { get; private set; } = CompressionOptions.Default;

    /// <summary>Annotations by target and platform.</summary>
    public AnnotationSet Annotations { get; } = new();

    /// <summary>Every other attribute: overrides the result's metadata.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; private set; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Reads attributes.</summary>
    /// <param name="attributes">Those of the output.</param>
    /// <param name="ociTypes">Default of <c>oci-mediatypes</c>.</param>
    /// <param name="inlineAttestations">Default of <c>attestation-inline</c>.</param>
    /// <param name="takeOwn">Takes an attribute of the exporter's own type; false for one it does not know.</param>
    /// <exception cref="FormatException">A value is malformed.</exception>
    public static ImageExportOptions Parse(
        IReadOnlyDictionary<string, string> attributes, bool ociTypes, bool inlineAttestations, Func<string, string, bool> takeOwn)
    {
        var options = new ImageExportOptions { OciTypes = ociTypes, InlineAttestations = inlineAttestations };
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        options.Compression = CompressionAttributes.Read(attributes);
        foreach (var (key, value) in options.Annotations.AddFrom(attributes))
        {
            if (!options.Take(key, value) && !takeOwn(key, value))
                metadata[key] = value;
        }
        if (options.OciArtifact || options.Compression.Type == CompressionType.EStargz)
            options.OciTypes = true;
        options.Metadata = metadata;
        return options;
    }

    private bool Take(string key, string value)
    {
        switch (key)
        {
            case "name":
                Name = value;
                return true;
            case "oci-mediatypes":
                OciTypes = ExporterAttributes.BoolOrEmpty(key, value);
                return true;
            case "oci-artifact":
                OciArtifact = ExporterAttributes.Bool(key, value);
                return true;
            case "attestation-inline":
                InlineAttestations = ExporterAttributes.Bool(key, value);
                return true;
            case "rewrite-timestamp":
                RewriteTimestamp = ExporterAttributes.Bool(key, value);
                return true;
            case "source-date-epoch":
                Epoch = ExporterAttributes.Epoch(value);
                return true;
            case "prefer-nondist-layers":
                Compression = Compression with { PreferNondistributable = ExporterAttributes.Bool(key, value) };
                return true;
            default:
                return false;
        }
    }
}
