using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;

namespace BuildKit.Daemon.Control;

/// <summary>Takes the spans clients send. Without a collector there is nowhere to pass them on, which clients are told.</summary>
internal static class TraceService
{
    /// <summary>The handler.</summary>
    public static GrpcService Create() => new GrpcService()
        .Unary(TraceServiceMethods.Export, (_, _) => throw new RpcException(StatusCode.Unavailable, "trace collector not configured"));
}
