using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Trees;

/// <summary>Attributes of <c>local</c> and <c>tar</c> (spec 07 §5); others are ignored.</summary>
internal sealed record TreeExportOptions
{
    /// <summary>Modification time of every entry, if set.</summary>
    public Rfc3339Time? Epoch { get; private init; }

    /// <summary>In front of the names of attestation files.</summary>
    public string AttestationPrefix { get; private init; } = "";

    /// <summary>Whether each platform has a directory of its own.</summary>
    public bool PlatformSplit { get; private init; } = true;

    /// <exception cref="FormatException">A value is malformed.</exception>
    public static TreeExportOptions Parse(IReadOnlyDictionary<string, string> attributes)
    {
        var split = attributes.GetValueOrDefault("platform-split", "true");
        return new TreeExportOptions
        {
            Epoch = ExporterAttributes.Epoch(attributes.GetValueOrDefault("source-date-epoch", "")),
            AttestationPrefix = attributes.GetValueOrDefault("attestation-prefix", ""),
            PlatformSplit = BuildKit.Oci.GoSyntax.ParseBool(split)
                ?? throw new FormatException($"non-bool value for platform-split: {split}: {GoSyntax.BoolError(split)}"),
        };
    }
}
