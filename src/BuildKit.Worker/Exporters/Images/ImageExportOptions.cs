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
        options.Compression = ParseCompression(attributes);
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

    private static CompressionOptions ParseCompression(IReadOnlyDictionary<string, string> attributes)
    {
        var options = CompressionOptions.Default;
        if (attributes.TryGetValue("compression", out var type))
        {
            options = options with
            {
                Type = type switch
                {
                    "uncompressed" => CompressionType.Uncompressed,
                    "gzip" => CompressionType.Gzip,
                    "estargz" => CompressionType.EStargz,
                    "zstd" => CompressionType.Zstd,
                    _ => throw new FormatException($"unsupported compression type {type}"),
                },
            };
        }
        if (attributes.TryGetValue("force-compression", out var force))
        {
            options = options with
            {
                Force = force.Length == 0 || (GoSyntax.ParseBool(force)
                    ?? throw new FormatException($"non-bool value {force} specified for force-compression: {ExporterAttributes.BoolError(force)}")),
            };
        }
        if (attributes.TryGetValue("compression-level", out var text))
        {
            var level = ExporterAttributes.Integer(text, out var error)
                ?? throw new FormatException($"non-integer value {text} specified for compression-level: {error}");
            if ((options.Type is CompressionType.Gzip or CompressionType.EStargz) && (level is < -1 or > 9))
                throw new FormatException(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"gzip: invalid compression level: {level}"));
            // Below zero is the codec's default.
            options = options with { Level = level < 0 ? null : (int)Math.Min(level, 22) };
        }
        return options;
    }
}
