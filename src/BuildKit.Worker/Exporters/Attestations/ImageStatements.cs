using System.Text;
using BuildKit.Linux.Patterns;
using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Attestations;

/// <summary>The statements of an image's attestation manifest (spec 07 §7.7, §9.5).</summary>
internal static class ImageStatements
{
    private const string SpdxType = "https://spdx.dev/Document";

    /// <param name="services">The daemon's parts.</param>
    /// <param name="attestations">Those of the platform.</param>
    /// <param name="names">The exporter's raw names.</param>
    /// <param name="platform">The platform.</param>
    /// <param name="image">The image's manifest.</param>
    /// <param name="tree">The image's tree; null when it is empty.</param>
    /// <param name="layers">The image's layers as the manifest lists them.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    public static async Task<IReadOnlyList<AttestationStatement>> MakeAsync(
        ExporterServices services, IReadOnlyList<ExportAttestation> attestations, string names, Platform platform, Descriptor image,
        IImmutableRef? tree, RemoteLayers layers, CancellationToken cancellationToken)
    {
        var read = await AttestationReading.ReadAsync(attestations, services.TemporaryDirectory, cancellationToken);
        var subjects = names.Split(',', StringSplitOptions.RemoveEmptyEntries)
            .Select(name => new StatementSubject(PackageUrl.OfImage("docker", name, platform), [image.Digest]))
            .ToList();
        var statements = new List<AttestationStatement>();
        foreach (var attestation in read)
        {
            var supplemented = tree is not null && IsCoreSbom(attestation.Source) ? await SupplementAsync(services, attestation, tree, layers, cancellationToken) : attestation;
            statements.Add(new AttestationStatement(attestation.Source.PredicateType, InTotoStatements.Make(supplemented, subjects, indented: false)));
        }
        return statements;
    }

    private static bool IsCoreSbom(ExportAttestation attestation) =>
        attestation.PredicateType == SpdxType && attestation.Metadata.TryGetValue("sbom-core", out var name)
        && UnixPath.Base(attestation.Path).Split('.')[0] == Encoding.UTF8.GetString(name);

    private static async Task<ReadAttestation> SupplementAsync(
        ExporterServices services, ReadAttestation attestation, IImmutableRef tree, RemoteLayers layers, CancellationToken cancellationToken)
    {
        var json = await SpdxDocument.SupplementAsync(
            attestation.Predicate, (paths, token) => LayerFiles.FindAsync(layers, tree, paths, token), $"Tool: buildkit-{services.Version}", cancellationToken);
        return json is null ? attestation : attestation with { Predicate = json };
    }
}
