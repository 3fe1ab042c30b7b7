using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Health;
using BuildKit.Protocol.Services;

namespace BuildKit.Protocol.Server;

/// <summary>The standard health service: the server as a whole (service "") is serving.</summary>
public static class HealthService
{
    /// <summary>Makes the service.</summary>
    public static GrpcService Create() => new GrpcService()
        .Unary(HealthMethods.Check, (request, _) => request.Service.Length == 0
            ? Task.FromResult(Serving())
            : throw new RpcException(StatusCode.NotFound, "unknown service"))
        .Stream(HealthMethods.Watch, WatchAsync);

    private static async Task WatchAsync(ServerStream<HealthCheckRequest, HealthCheckResponse> stream)
    {
        var request = await stream.ReadAsync(stream.CancellationToken);
        await stream.SendAsync(
            request is { Service.Length: > 0 }
                ? new HealthCheckResponse { Status = HealthCheckResponse.Types.ServingStatus.ServiceUnknown }
                : Serving(),
            stream.CancellationToken);
        await Task.Delay(Timeout.InfiniteTimeSpan, stream.CancellationToken);
    }

    private static HealthCheckResponse Serving() =>
        new() { Status = HealthCheckResponse.Types.ServingStatus.Serving };
}
