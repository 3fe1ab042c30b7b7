using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Reflection;

namespace BuildKit.Protocol.Services;

/// <summary>The older name of server reflection (spec 01 §1.7).</summary>
public static class ServerReflectionV1AlphaMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "grpc.reflection.v1alpha.ServerReflection";

    /// <summary><c>/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo</c>.</summary>
    public static Method<ServerReflectionRequest, ServerReflectionResponse> ServerReflectionInfo { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "ServerReflectionInfo", ServerReflectionRequest.Parser, ServerReflectionResponse.Parser);
}
