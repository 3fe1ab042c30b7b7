using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Control;
using BuildKit.Daemon.Errors;
using BuildKit.Daemon.Gateway.Containers;
using BuildKit.Daemon.Solving;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Linux;
using BuildKit.Llb;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using BuildKit.Protocol.SourcePolicy;
using BuildKit.Solver;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sources.OciLayout;
using Google.Protobuf;

namespace BuildKit.Daemon.Gateway;

/// <summary>
/// <c>LLBBridge</c>: what a frontend outside the daemon may ask of it (spec 01 §6). A client's calls name their build
/// in a header; a frontend in a container has a connection, and so a service, of its own.
/// </summary>
internal sealed class GatewayService(IGatewayBuilds builds, BuildServices services)
{
    private const string ImageScheme = Build.ImageScheme;

    /// <summary>Value of <c>ResolverType</c> for layouts of clients; 0 is for registries.</summary>
    private const int OciLayoutResolver = 1;

    /// <summary>The handlers.</summary>
    public GrpcService ToService() => new GrpcService()
        .Unary(LLBBridgeMethods.Ping, PingAsync)
        .Unary(LLBBridgeMethods.Solve, SolveAsync)
        .Unary(LLBBridgeMethods.Return, ReturnAsync)
        .Unary(LLBBridgeMethods.ReadFile, ReadFileAsync)
        .Unary(LLBBridgeMethods.ReadDir, ReadDirAsync)
        .Unary(LLBBridgeMethods.StatFile, StatFileAsync)
        .Unary(LLBBridgeMethods.Evaluate, EvaluateAsync)
        .Unary(LLBBridgeMethods.ResolveImageConfig, ResolveImageConfigAsync)
        .Unary(LLBBridgeMethods.ResolveSourceMeta, ResolveSourceMetaAsync)
        .Unary(LLBBridgeMethods.Inputs, InputsAsync)
        .Unary(LLBBridgeMethods.Warn, WarnAsync)
        .Unary(LLBBridgeMethods.NewContainer, NewContainerAsync)
        .Unary(LLBBridgeMethods.ReleaseContainer, ReleaseContainerAsync)
        .Stream(LLBBridgeMethods.ExecProcess, ExecProcessAsync);

    private async Task<PongResponse> PingAsync(PingRequest request, ServerCallContext call)
    {
        await builds.FindAsync(call);
        var pong = new PongResponse();
        pong.FrontendAPICaps.AddRange(GatewayCaps.All.Published());
        pong.LLBCaps.AddRange(LlbCaps.All.Published());
        pong.Workers.Add(WorkerMessages.Brief(services.Worker));
        return pong;
    }

    private async Task<SolveResponse> SolveAsync(SolveRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var result = await TellingAsync(gateway, () => SolveAsync(gateway, request, call.CancellationToken));
        if (request.Final)
            gateway.Finish(FinalResult.Of(result, request.ExporterAttr.Span));
        return GatewayResults.Answer(request, result, gateway.Add);
    }

    private static async Task<BuildResult> SolveAsync(GatewayBuild gateway, SolveRequest request, CancellationToken cancellationToken)
    {
        IReadOnlyList<CacheImport> imports = request.CacheImports.Count == 0
            ? gateway.Imports
            : [.. request.CacheImports.Select(import => new CacheImport(import.Type, new Dictionary<string, string>(import.Attrs, StringComparer.Ordinal)))];
        List<Policy> policies = [.. gateway.Policies, .. request.SourcePolicies];
        if (request.Definition is { Def.Count: > 0 } && request.Frontend.Length > 0)
            throw new RpcException(StatusCode.Unknown, "cannot solve with both Definition and Frontend specified");
        var result = request.Frontend.Length > 0
            ? await gateway.Build.RunFrontendAsync(
                gateway.Scope, request.Frontend, new Dictionary<string, string>(request.FrontendOpt, StringComparer.Ordinal),
                new Dictionary<string, Definition>(request.FrontendInputs, StringComparer.Ordinal), imports, policies, cancellationToken)
            : await gateway.Build.SolveAsync(gateway.Scope, request.Definition ?? new Definition(), imports, policies, evaluate: false, cancellationToken);
        if (request.Evaluate)
            await Task.WhenAll(result.All.Select(lazy => lazy.EvaluateAsync(cancellationToken)));
        return result;
    }

    /// <summary>An error of a step tells the frontend by which ids it can have what the step left.</summary>
    private static async Task<T> TellingAsync<T>(GatewayBuild gateway, Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        catch (Exception exception) when (exception is not (OperationCanceledException or RpcException))
        {
            gateway.KeepFailed(exception);
            throw new GatewaySolveException(exception);
        }
    }

    private async Task<ReturnResponse> ReturnAsync(ReturnRequest request, ServerCallContext call)
    {
        (await builds.FindAsync(call)).Return(request);
        return new ReturnResponse();
    }

    private async Task<ReadFileResponse> ReadFileAsync(ReadFileRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var lazy = gateway.Find(request.Ref);
        var reference = await TellingAsync(gateway, () => lazy.EvaluateRefAsync(call.CancellationToken));
        var data = await RefFiles.ReadFileAsync(
            reference, request.FilePath, request.Range?.Offset ?? 0, request.Range?.Length, gateway.Build.FileDirectory, call.CancellationToken);
        return new ReadFileResponse { Data = UnsafeByteOperations.UnsafeWrap(data) };
    }

    private async Task<ReadDirResponse> ReadDirAsync(ReadDirRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var lazy = gateway.Find(request.Ref);
        var reference = await TellingAsync(gateway, () => lazy.EvaluateRefAsync(call.CancellationToken));
        var entries = await RefFiles.ReadDirAsync(reference, request.DirPath, request.IncludePattern, gateway.Build.FileDirectory, call.CancellationToken);
        return new ReadDirResponse { Entries = { entries.Select(Stat) } };
    }

    private async Task<StatFileResponse> StatFileAsync(StatFileRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var lazy = gateway.Find(request.Ref);
        var reference = await TellingAsync(gateway, () => lazy.EvaluateRefAsync(call.CancellationToken));
        return new StatFileResponse { Stat = Stat(await RefFiles.StatFileAsync(reference, request.Path, gateway.Build.FileDirectory, call.CancellationToken)) };
    }

    private async Task<EvaluateResponse> EvaluateAsync(EvaluateRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var lazy = gateway.Find(request.Ref);
        await TellingAsync(gateway, () => lazy.EvaluateAsync(call.CancellationToken));
        return new EvaluateResponse();
    }

    private async Task<ResolveImageConfigResponse> ResolveImageConfigAsync(ResolveImageConfigRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        var source = new SourceOp { Identifier = ImageScheme + request.Ref };
        if (request.ResolverType == OciLayoutResolver)
        {
            source.Identifier = OciLayoutSource.Scheme + request.Ref;
            source.Attrs[OciLayoutSource.SessionAttribute] = request.SessionID;
            source.Attrs[OciLayoutSource.StoreAttribute] = request.StoreID;
        }
        gateway.Build.PolicyWith([.. gateway.Policies, .. request.SourcePolicies])?.Evaluate(source);
        var (resolved, digest, config) = await gateway.Build.ResolveSourceAsync(source, PlatformOf(request.Platform), request.LogName, call.CancellationToken)
            ?? throw new NonImageSourceException(request.Ref, source.Identifier);
        Capture(gateway, source, request.Platform, digest);
        return new ResolveImageConfigResponse { Ref = resolved, Digest = digest.ToString(), Config = ByteString.CopyFrom(config) };
    }

    private async Task<ResolveSourceMetaResponse> ResolveSourceMetaAsync(ResolveSourceMetaRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        if (request.Source is not { } source)
            throw new RpcException(StatusCode.InvalidArgument, "source is required");
        gateway.Build.PolicyWith([.. gateway.Policies, .. request.SourcePolicies])?.Evaluate(source);
        if (await gateway.Build.ResolveSourceAsync(source, PlatformOf(request.Platform), request.LogName, call.CancellationToken) is not var (_, digest, config))
            return new ResolveSourceMetaResponse { Source = source };
        Capture(gateway, source, request.Platform, digest);
        return new ResolveSourceMetaResponse
        {
            Source = source,
            Image = new ResolveSourceImageResponse { Digest = digest.ToString(), Config = ByteString.CopyFrom(config) },
        };
    }

    private static void Capture(GatewayBuild gateway, SourceOp source, Protocol.Pb.Platform? platform, Oci.Digest digest) => gateway.Scope.Add(new CapturedImage(
        source.Identifier[(source.Identifier.IndexOf("://", StringComparison.Ordinal) + 3)..], PlatformOf(platform), digest,
        IsLocal: source.Identifier.StartsWith(OciLayoutSource.Scheme, StringComparison.Ordinal)));

    private static Oci.Platform? PlatformOf(Protocol.Pb.Platform? platform) => platform is null ? null : PlatformConversion.ToOci(platform);

    private async Task<InputsResponse> InputsAsync(InputsRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        return new InputsResponse { Definitions = { gateway.Inputs.ToDictionary() } };
    }

    private async Task<WarnResponse> WarnAsync(WarnRequest request, ServerCallContext call)
    {
        var gateway = await builds.FindAsync(call);
        if (request.Ranges.Any(range => range.Start is null || range.End is null))
            throw new RpcException(StatusCode.InvalidArgument, "invalid source range");
        gateway.Build.Job.ProgressWriter.Write(new ProgressWarning(
            Oci.Digest.Unchecked(request.Digest), (int)request.Level, request.Short.Memory, [.. request.Detail.Select(detail => detail.Memory)],
            request.Url, request.Info, [.. request.Ranges]));
        return new WarnResponse();
    }

    private async Task<NewContainerResponse> NewContainerAsync(NewContainerRequest request, ServerCallContext call)
    {
        await (await builds.FindAsync(call)).AddContainerAsync(request, call.CancellationToken);
        return new NewContainerResponse();
    }

    private async Task<ReleaseContainerResponse> ReleaseContainerAsync(ReleaseContainerRequest request, ServerCallContext call)
    {
        await (await builds.FindAsync(call)).ReleaseContainerAsync(request.ContainerID);
        return new ReleaseContainerResponse();
    }

    private async Task ExecProcessAsync(ServerStream<ExecMessage, ExecMessage> stream)
    {
        var gateway = await builds.FindAsync(stream);
        await using var processes = new ProcessCall(gateway, stream);
        await processes.RunAsync();
    }

    private static Protocol.FsUtil.Stat Stat(RefFileInfo file) => new()
    {
        Path = file.Path,
        Mode = GoFileMode.FromUnix(file.Stat.Mode),
        Uid = file.Stat.Uid,
        Gid = file.Stat.Gid,
        Size = file.Stat.Size,
        ModTime = file.Stat.Mtime.ToNanoseconds(),
        Linkname = file.LinkTarget,
        Devmajor = file.Stat.RdevMajor,
        Devminor = file.Stat.RdevMinor,
    };
}
