using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Reflection;

namespace BuildKit.Protocol.Services;

/// <summary>Descriptions of the services of a server (spec 01 §1.7).</summary>
public static class ServerReflectionMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "grpc.reflection.v1.ServerReflection";

    /// <summary><c>/grpc.reflection.v1.ServerReflection/ServerReflectionInfo</c>.</summary>
    public static Method<ServerReflectionRequest, ServerReflectionResponse> ServerReflectionInfo { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "ServerReflectionInfo", ServerReflectionRequest.Parser, ServerReflectionResponse.Parser);
}
