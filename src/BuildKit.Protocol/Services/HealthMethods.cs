using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Health;

namespace BuildKit.Protocol.Services;

/// <summary>Liveness of a server (spec 01 §1.7).</summary>
public static class HealthMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "grpc.health.v1.Health";

    /// <summary><c>/grpc.health.v1.Health/Check</c>.</summary>
    public static Method<HealthCheckRequest, HealthCheckResponse> Check { get; } =
        new(MethodKind.Unary, ServiceName, "Check", HealthCheckRequest.Parser, HealthCheckResponse.Parser);

    /// <summary><c>/grpc.health.v1.Health/Watch</c>.</summary>
    public static Method<HealthCheckRequest, HealthCheckResponse> Watch { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "Watch", HealthCheckRequest.Parser, HealthCheckResponse.Parser);
}
