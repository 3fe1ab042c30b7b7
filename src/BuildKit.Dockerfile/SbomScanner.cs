using System.Text;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Conversion;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;

namespace BuildKit.Dockerfile;

/// <summary>Runs a scanner image over results to make a bill of materials (spec 05 §7.5).</summary>
public sealed class SbomScanner
{
    private const string Source = "/run/src/core/sbom";
    private const string Extras = "/run/src/extras";
    private const string Destination = "/run/out/";
    private const string PredicateType = "https://spdx.dev/Document";

    private readonly IFrontendClient _client;
    private readonly SbomRequest _request;
    private readonly string _reference;
    private readonly StageImage _image;

    private SbomScanner(IFrontendClient client, SbomRequest request, string reference, StageImage image)
    {
        _client = client;
        _request = request;
        _reference = reference;
        _image = image;
    }

    /// <summary>Resolves the scanner.</summary>
    /// <param name="client">Where it is resolved and runs.</param>
    /// <param name="resolveMode">How: <c>default</c>, <c>pull</c>, <c>local</c> or empty.</param>
    /// <param name="request">Which scanner.</param>
    /// <param name="cancellationToken">Cancels.</param>
    /// <exception cref="DockerfileException">It has no command.</exception>
    public static async Task<SbomScanner> CreateAsync(IFrontendClient client, string resolveMode, SbomRequest request, CancellationToken cancellationToken)
    {
        var query = new ImageConfigQuery("", null, resolveMode);
        var resolved = await client.ResolveSourceMetadataAsync("docker-image://" + request.Generator, query, cancellationToken).ConfigureAwait(false);
        const string scheme = "docker-image://";
        var reference = resolved.Reference.StartsWith(scheme, StringComparison.Ordinal) ? resolved.Reference[scheme.Length..] : resolved.Reference;
        var image = StageImage.Parse(resolved.Config);
        if (image.Entrypoint.Count + image.Cmd.Count == 0)
            throw new DockerfileException($"scanner {reference} does not have cmd");
        return new SbomScanner(client, request, reference, image);
    }

    /// <summary>Whether results have a bill of materials already.</summary>
    public static bool IsBillOfMaterials(string predicateType) => predicateType == PredicateType;

    /// <summary>Scans the result of a definition.</summary>
    /// <param name="platform">Id of the platform.</param>
    /// <param name="built">The definition.</param>
    /// <param name="ignoreCache">Whether the scan is never answered from cache.</param>
    /// <param name="cancellationToken">Cancels.</param>
    public Task<FrontendAttestation> ScanAsync(string platform, Definition built, bool ignoreCache, CancellationToken cancellationToken) =>
        ScanAsync(platform, new ScanTargets(State.FromDefinition(built), [], ignoreCache), built, cancellationToken);

    /// <summary>Scans one platform's result.</summary>
    /// <param name="platform">Id of the platform.</param>
    /// <param name="targets">What is looked at.</param>
    /// <param name="built">The definition of the result: its operations keep the capabilities they were given there.</param>
    /// <param name="cancellationToken">Cancels.</param>
    internal async Task<FrontendAttestation> ScanAsync(string platform, ScanTargets targets, Definition built, CancellationToken cancellationToken)
    {
        var mounts = new List<RunMount> { RunMount.Tmpfs("/tmp"), new(Source, targets.Core) { ReadOnly = true } };
        foreach (var (name, state) in targets.Extras)
            mounts.Add(new RunMount($"{Extras}/sbom-{name}", state) { ReadOnly = true });
        var exec = State.Image(_reference).Run(new RunOptions
        {
            Args = [.. _image.Entrypoint, .. _image.Cmd],
            Mounts = mounts,
            Configure = state => Configure(state, targets.Extras.Count > 0),
            Constraints = OpConstraints.None.WithCustomName($"[{platform}] generating sbom using {_reference}") with { IgnoreCache = targets.IgnoreCache },
        });
        var output = exec.AddMount(Destination, State.Scratch);
        var definition = await output.MarshalAsync(null, cancellationToken).ConfigureAwait(false);
        foreach (var (digest, metadata) in definition.Metadata)
        {
            if (!built.Metadata.TryGetValue(digest, out var earlier))
                continue;
            foreach (var (name, value) in earlier.Caps)
                metadata.Caps[name] = value;
        }
        var solved = await _client.SolveAsync(new FrontendSolveRequest { Definition = definition }, cancellationToken).ConfigureAwait(false);
        return new FrontendAttestation(solved.Reference, PredicateType, new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            ["reason"] = Encoding.UTF8.GetBytes("sbom"),
            ["sbom-core"] = Encoding.UTF8.GetBytes("sbom"),
        });
    }

    private State Configure(State state, bool hasExtras)
    {
        state = state.Dir(_image.WorkingDir.Length > 0 ? _image.WorkingDir : "/");
        foreach (var entry in _image.Env)
        {
            var parts = entry.Split('=', 2);
            state = state.AddEnv(parts[0], parts.Length == 2 ? parts[1] : "");
        }
        state = state.AddEnv("BUILDKIT_SCAN_DESTINATION", Destination).AddEnv("BUILDKIT_SCAN_SOURCE", Source);
        if (hasExtras)
            state = state.AddEnv("BUILDKIT_SCAN_SOURCE_EXTRAS", Extras);
        foreach (var (key, value) in _request.Parameters)
            state = state.AddEnv("BUILDKIT_SCAN_" + key, value);
        return state;
    }
}
