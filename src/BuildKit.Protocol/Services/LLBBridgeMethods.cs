using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>What a frontend may ask of the build it runs in (spec 01 §1.3, §6).</summary>
public static class LLBBridgeMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.buildkit.v1.frontend.LLBBridge";

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ResolveImageConfig</c>.</summary>
    public static Method<ResolveImageConfigRequest, ResolveImageConfigResponse> ResolveImageConfig { get; } =
        new(MethodKind.Unary, ServiceName, "ResolveImageConfig", ResolveImageConfigRequest.Parser, ResolveImageConfigResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ResolveSourceMeta</c>.</summary>
    public static Method<ResolveSourceMetaRequest, ResolveSourceMetaResponse> ResolveSourceMeta { get; } =
        new(MethodKind.Unary, ServiceName, "ResolveSourceMeta", ResolveSourceMetaRequest.Parser, ResolveSourceMetaResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Solve</c>.</summary>
    public static Method<SolveRequest, SolveResponse> Solve { get; } =
        new(MethodKind.Unary, ServiceName, "Solve", SolveRequest.Parser, SolveResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ReadFile</c>.</summary>
    public static Method<ReadFileRequest, ReadFileResponse> ReadFile { get; } =
        new(MethodKind.Unary, ServiceName, "ReadFile", ReadFileRequest.Parser, ReadFileResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ReadDir</c>.</summary>
    public static Method<ReadDirRequest, ReadDirResponse> ReadDir { get; } =
        new(MethodKind.Unary, ServiceName, "ReadDir", ReadDirRequest.Parser, ReadDirResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/StatFile</c>.</summary>
    public static Method<StatFileRequest, StatFileResponse> StatFile { get; } =
        new(MethodKind.Unary, ServiceName, "StatFile", StatFileRequest.Parser, StatFileResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Evaluate</c>.</summary>
    public static Method<EvaluateRequest, EvaluateResponse> Evaluate { get; } =
        new(MethodKind.Unary, ServiceName, "Evaluate", EvaluateRequest.Parser, EvaluateResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Ping</c>.</summary>
    public static Method<PingRequest, PongResponse> Ping { get; } =
        new(MethodKind.Unary, ServiceName, "Ping", PingRequest.Parser, PongResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Return</c>.</summary>
    public static Method<ReturnRequest, ReturnResponse> Return { get; } =
        new(MethodKind.Unary, ServiceName, "Return", ReturnRequest.Parser, ReturnResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Inputs</c>.</summary>
    public static Method<InputsRequest, InputsResponse> Inputs { get; } =
        new(MethodKind.Unary, ServiceName, "Inputs", InputsRequest.Parser, InputsResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/NewContainer</c>.</summary>
    public static Method<NewContainerRequest, NewContainerResponse> NewContainer { get; } =
        new(MethodKind.Unary, ServiceName, "NewContainer", NewContainerRequest.Parser, NewContainerResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ReleaseContainer</c>.</summary>
    public static Method<ReleaseContainerRequest, ReleaseContainerResponse> ReleaseContainer { get; } =
        new(MethodKind.Unary, ServiceName, "ReleaseContainer", ReleaseContainerRequest.Parser, ReleaseContainerResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/Warn</c>.</summary>
    public static Method<WarnRequest, WarnResponse> Warn { get; } =
        new(MethodKind.Unary, ServiceName, "Warn", WarnRequest.Parser, WarnResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.frontend.LLBBridge/ExecProcess</c>.</summary>
    public static Method<ExecMessage, ExecMessage> ExecProcess { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "ExecProcess", ExecMessage.Parser, ExecMessage.Parser);
}
