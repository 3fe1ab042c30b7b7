using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Linux;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sources.OciLayout;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Daemon.Frontends;

/// <summary>The daemon as the built-in Dockerfile frontend sees it.</summary>
internal sealed class DockerfileClient(
    Build build, BuildServices services, CaptureScope scope, IReadOnlyDictionary<string, string> options, IReadOnlyDictionary<string, Definition> inputs,
    IReadOnlyList<CacheImport> imports, IReadOnlyList<Policy> policies) : IFrontendClient
{
    private const string ImageScheme = "docker-image://";

    /// <inheritdoc/>
    public FrontendBuildOptions Options { get; } = new()
    {
        Opts = options,
        SessionId = build.Job.SessionId,
        WorkerPlatforms = services.Worker.Platforms,
        LlbCaps = LlbCaps.All.Everything(),
        GatewayCaps = GatewayCaps.All.Everything(),
    };

    /// <inheritdoc/>
    public async Task<FrontendResult> SolveAsync(FrontendSolveRequest request, CancellationToken cancellationToken)
    {
        IReadOnlyList<CacheImport> caches = request.CacheImports.Count > 0 ? request.CacheImports : imports;
        var result = request.Definition is { } definition
            ? await build.SolveAsync(scope, definition, caches, policies, request.Evaluate, cancellationToken)
            : await build.RunFrontendAsync(
                scope, request.Frontend, request.FrontendOpts, request.FrontendInputs ?? new Dictionary<string, Definition>(StringComparer.Ordinal), caches, policies, cancellationToken);
        var answer = new FrontendResult { Reference = Wrap(result.Ref) };
        foreach (var (key, reference) in result.Refs)
            answer.References.Add(key, Wrap(reference));
        foreach (var (key, value) in result.Metadata)
            answer.Metadata.Add(key, value);
        foreach (var (key, attestations) in result.Attestations)
            answer.Attestations.Add(key, [.. attestations.Select(Wrap)]);
        return answer;
    }

    /// <inheritdoc/>
    public async Task<FrontendImageConfig> ResolveImageConfigAsync(string reference, ImageConfigQuery query, CancellationToken cancellationToken)
    {
        var source = new SourceOp { Identifier = ImageScheme + ImageReference.ParseWithDefaultTag(reference) };
        if (query.OciStoreId is { } store)
        {
            source.Identifier = OciLayoutSource.Scheme + reference;
            source.Attrs[OciLayoutSource.StoreAttribute] = store;
            if (query.OciSessionId is { Length: > 0 } session)
                source.Attrs[OciLayoutSource.SessionAttribute] = session;
        }
        ApplyPolicy(source);
        try
        {
            var (resolved, digest, config) = await build.ResolveSourceAsync(source, query.Platform, query.LogName, cancellationToken)
                ?? throw new NonImageSourceException(reference, source.Identifier);
            scope.Add(new CapturedImage(NameOf(source), query.Platform, digest, IsLocal: query.OciStoreId is not null));
            return new FrontendImageConfig(resolved, digest, config);
        }
        catch (Exception error) when (error is not (OperationCanceledException or NonImageSourceException))
        {
            throw new InvalidOperationException($"failed to resolve source metadata for {ImageReference.ParseWithDefaultTag(reference)}: {error.Message}", error);
        }
    }

    private static string NameOf(SourceOp source) => source.Identifier[(source.Identifier.IndexOf("://", StringComparison.Ordinal) + 3)..];

    private void ApplyPolicy(SourceOp source)
    {
        var reference = NameOf(source);
        try
        {
            build.PolicyWith(policies)?.Evaluate(source);
        }
        catch (LlbException refusal)
        {
            throw new InvalidOperationException($"failed to resolve source metadata for {reference}: could not resolve image due to policy: {refusal.Message}", refusal);
        }
    }

    /// <inheritdoc/>
    public Task<FrontendImageConfig> ResolveSourceMetadataAsync(string identifier, ImageConfigQuery query, CancellationToken cancellationToken) =>
        identifier.StartsWith(ImageScheme, StringComparison.Ordinal)
            ? ResolveImageConfigAsync(identifier[ImageScheme.Length..], query, cancellationToken)
            : Task.FromResult(new FrontendImageConfig(identifier, default, []));

    /// <inheritdoc/>
    public Task<IReadOnlyDictionary<string, Definition>> GetInputsAsync(CancellationToken cancellationToken) => Task.FromResult(inputs);

    /// <inheritdoc/>
    public Task WarnAsync(Digest vertex, FrontendWarning warning, CancellationToken cancellationToken)
    {
        build.Job.ProgressWriter.Write(new ProgressWarning(
            vertex, warning.Level, System.Text.Encoding.UTF8.GetBytes(warning.Short),
            [.. warning.Detail.Select(line => (ReadOnlyMemory<byte>)System.Text.Encoding.UTF8.GetBytes(line))],
            warning.Url, warning.Source, [.. warning.Ranges.Select(range => (object)SourceRanges.ToMessage(range))]));
        return Task.CompletedTask;
    }

    /// <summary>The frontend's result as the daemon keeps it.</summary>
    public BuildResult ToBuildResult(FrontendResult result)
    {
        var answer = new BuildResult { Ref = Unwrap(result.Reference), IsKeyed = result.References.Count > 0 };
        foreach (var (key, reference) in result.References)
            answer.Refs.Add(key, Unwrap(reference));
        foreach (var (key, value) in result.Metadata)
            answer.Metadata.Add(key, value);
        foreach (var (key, attestations) in result.Attestations)
            answer.Attestations.Add(key, [.. attestations.Select(ToBuildAttestation)]);
        return answer;
    }

    /// <summary>The frontend's attestation as the daemon keeps it.</summary>
    public static BuildAttestation ToBuildAttestation(FrontendAttestation attestation) => new(
        attestation.IsBundle, Unwrap(attestation.Reference), attestation.Path, attestation.PredicateType, attestation.Metadata)
    {
        Subjects = [.. attestation.Subjects.Select(subject => new ExportSubject(subject.IsSelf, subject.Name, subject.Digests))],
    };

    private FrontendAttestation Wrap(BuildAttestation attestation) => new(Wrap(attestation.Ref), attestation.PredicateType, attestation.Metadata)
    {
        IsBundle = attestation.IsBundle,
        Path = attestation.Path,
        Subjects = [.. attestation.Subjects.Select(subject => new FrontendSubject(subject.IsSelf, subject.Name, subject.Digests))],
    };

    private Reference? Wrap(LazyResult? result) => result is null ? null : new Reference(result, build.FileDirectory);

    private static LazyResult? Unwrap(IFrontendReference? reference) => (reference as Reference)?.Result;

    private sealed class Reference(LazyResult result, string directory) : IFrontendReference
    {
        public LazyResult Result { get; } = result;

        public async Task<byte[]> ReadFileAsync(string path, long offset, long? length, CancellationToken cancellationToken) =>
            await RefFiles.ReadFileAsync(await Result.EvaluateRefAsync(cancellationToken), path, offset, length, directory, cancellationToken);

        public async Task<IReadOnlyList<FrontendFileInfo>> ReadDirAsync(string path, string includePattern, CancellationToken cancellationToken) =>
            [.. (await RefFiles.ReadDirAsync(await Result.EvaluateRefAsync(cancellationToken), path, includePattern, directory, cancellationToken)).Select(Info)];

        public async Task<FrontendFileInfo> StatFileAsync(string path, CancellationToken cancellationToken) =>
            Info(await RefFiles.StatFileAsync(await Result.EvaluateRefAsync(cancellationToken), path, directory, cancellationToken));

        private static FrontendFileInfo Info(RefFileInfo file) => new(file.Path, GoFileMode.FromUnix(file.Stat.Mode), file.Stat.Size);
    }
}

/// <summary>Line ranges on the wire.</summary>
internal static class SourceRanges
{
    public static Protocol.Pb.Range ToMessage(BuildKit.Dockerfile.Parsing.SourceRange range) => new()
    {
        Start = new Position { Line = range.StartLine, Character = range.StartCharacter },
        End = new Position { Line = range.EndLine, Character = range.EndCharacter },
    };
}
