using BuildKit.Oci;
using BuildKit.Oci.Assembly;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>The statements of an image's attestation manifest (spec 07 §7.7, §9.5).</summary>
internal static class ImageStatements
{
    /// <param name="services">The daemon's parts.</param>
    /// <param name="attestations">Those of the platform.</param>
    /// <param name="names">The exporter's raw names.</param>
    /// <param name="platform">The platform.</param>
    /// <param name="image">The image's manifest.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async Task<IReadOnlyList<AttestationStatement>> MakeAsync(
        ExporterServices services, IReadOnlyList<ExportAttestation> attestations, string names, Platform platform, Descriptor image, CancellationToken cancellationToken)
    {
        var read = await AttestationReading.ReadAsync(attestations, services.TemporaryDirectory, cancellationToken);
        var subjects = names.Split(',', StringSplitOptions.RemoveEmptyEntries)
            .Select(name => new StatementSubject(PackageUrl.OfImage("docker", name, platform), [image.Digest]))
            .ToList();
        return [.. read.Select(attestation => new AttestationStatement(
            attestation.Source.PredicateType, InTotoStatements.Make(attestation, subjects, indented: false)))];
    }
}
