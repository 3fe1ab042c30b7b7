using System.Text;
using BuildKit.Daemon.Frontends;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Worker.Exporters;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Attesting;

/// <summary>
/// Adds the attestations a request asks for to the result of its build, after everything was computed and before it is
/// exported (spec 07 §2, §9): first the bill of materials, unless the frontend made one, then the provenance.
/// </summary>
internal sealed class AttestationProcessors : IDisposable
{
    private readonly IReadOnlyDictionary<string, string> _frontendOptions;
    private readonly SbomRequest? _sbom;
    private readonly IReadOnlyDictionary<string, string>? _provenance;
    private SystemUsage? _usage;

    private AttestationProcessors(IReadOnlyDictionary<string, string> frontendOptions, SbomRequest? sbom, IReadOnlyDictionary<string, string>? provenance) =>
        (_frontendOptions, _sbom, _provenance) = (frontendOptions, sbom, provenance);

    /// <summary>Those that frontend options ask for.</summary>
    /// <exception cref="Dockerfile.Parsing.DockerfileException">An unknown type, a malformed value, a scanner that is none.</exception>
    public static AttestationProcessors Parse(IReadOnlyDictionary<string, string> frontendOptions)
    {
        var wanted = AttestationOptions.Parse(frontendOptions);
        return new AttestationProcessors(frontendOptions, wanted.Sbom is { } sbom ? SbomRequest.Of(sbom, "generator") : null, wanted.Provenance);
    }

    /// <summary>Begins to watch the machine, if that is asked for.</summary>
    public void Begin(TimeProvider time)
    {
        if (_provenance is not null && ProvenanceOptions.WantsUsage(_provenance))
            _usage = new SystemUsage(time);
    }

    /// <summary>Ends what was begun.</summary>
    public void Dispose() => _usage?.Dispose();

    /// <summary>Adds the attestations.</summary>
    /// <param name="build">The build.</param>
    /// <param name="services">The daemon's parts.</param>
    /// <param name="scope">Everything the build did.</param>
    /// <param name="result">Its result; all of it is computed.</param>
    /// <param name="cancellationToken">Ends the scan.</param>
    /// <exception cref="FormatException">A setting of the provenance is wrong.</exception>
    public async Task AddAsync(Build build, BuildServices services, CaptureScope scope, BuildResult result, CancellationToken cancellationToken)
    {
        if (_sbom is null && _provenance is null)
            return;
        var platforms = ResultPlatforms.Resolve(result.Metadata, isMap: false, services.DefaultPlatform);
        // Taken before the scan: its outcome is no part of what the result was made of.
        var captures = new ResultCaptures([.. result.All], scope, platforms);
        if (_sbom is not null)
            await ScanAsync(_sbom, build, services, platforms, result, cancellationToken);
        if (_provenance is not null)
            AddProvenance(_provenance, build, platforms, captures, result);
    }

    private async Task ScanAsync(
        SbomRequest request, Build build, BuildServices services, IReadOnlyList<ResultPlatform> platforms, BuildResult result, CancellationToken cancellationToken)
    {
        // A question to the frontend has no result that could be scanned.
        if (result.Ref is null && result.Refs.Values.All(reference => reference is null))
            return;
        if (result.Attestations.Values.Any(list => list.Exists(attestation => SbomScanner.IsBillOfMaterials(attestation.PredicateType))))
            return;
        var client = new DockerfileClient(
            build, services, new CaptureScope(null), _frontendOptions, new Dictionary<string, Definition>(StringComparer.Ordinal), imports: [], policies: []);
        var scanner = await SbomScanner.CreateAsync(client, _frontendOptions.GetValueOrDefault("image-resolve-mode", "default"), request, cancellationToken);
        var ignoresCache = _frontendOptions.TryGetValue("no-cache", out var stages) && stages.Length == 0;
        foreach (var platform in platforms)
        {
            if (!result.TryFind(platform.Id, out var reference))
                throw new InvalidOperationException($"could not find ref {platform.Id}");
            if (reference is not null)
                result.AddAttestation(platform.Id, DockerfileClient.ToBuildAttestation(await scanner.ScanAsync(platform.Id, reference.Definition, ignoresCache, cancellationToken)));
        }
    }

    private void AddProvenance(
        IReadOnlyDictionary<string, string> settings, Build build, IReadOnlyList<ResultPlatform> platforms, ResultCaptures captures, BuildResult result)
    {
        foreach (var platform in platforms)
        {
            if (!result.TryFind(platform.Id, out var reference))
                throw new InvalidOperationException($"no build info found for provenance {platform.Id}");
            if (reference is null)
                continue; // nothing was made, so there is nothing to tell
            var options = ProvenanceOptions.Parse(settings);
            var capture = captures.Of(reference, result.IsKeyed ? platform.Id : null);
            result.AddAttestation(platform.Id, new BuildAttestation(
                IsBundle: false, Ref: null, options.FileName, ProvenancePredicate.PredicateType,
                new Dictionary<string, byte[]>(StringComparer.Ordinal)
                {
                    ["reason"] = Encoding.UTF8.GetBytes("provenance"),
                    ["inline-only"] = Encoding.UTF8.GetBytes(options.IsInlineOnly ? "true" : "false"),
                })
            {
                Content = token => PredicateAsync(build, reference, capture, options, token),
            });
        }
    }

    private async Task<byte[]> PredicateAsync(
        Build build, LazyResult reference, ProvenanceCapture capture, ProvenanceOptions options, CancellationToken cancellationToken)
    {
        var invocation = new BuildInvocation(build.Job.UniqueId, build.Job.StartedAt, build.Job.RegisterCompletion());
        var layers = options.IsMax ? await StepLayers.CollectAsync(await reference.EvaluateAsync(cancellationToken), cancellationToken) : null;
        return ProvenancePredicate.Write(capture, options, invocation, Platform.Host, reference.Definition, layers, options.CapturesUsage ? _usage?.Samples() : null);
    }
}
