using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Services;

/// <summary>The daemon's API for clients (spec 01 §1.1).</summary>
public static class ControlMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "moby.buildkit.v1.Control";

    /// <summary><c>/moby.buildkit.v1.Control/DiskUsage</c>.</summary>
    public static Method<DiskUsageRequest, DiskUsageResponse> DiskUsage { get; } =
        new(MethodKind.Unary, ServiceName, "DiskUsage", DiskUsageRequest.Parser, DiskUsageResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/Prune</c>.</summary>
    public static Method<PruneRequest, UsageRecord> Prune { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "Prune", PruneRequest.Parser, UsageRecord.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/Solve</c>.</summary>
    public static Method<SolveRequest, SolveResponse> Solve { get; } =
        new(MethodKind.Unary, ServiceName, "Solve", SolveRequest.Parser, SolveResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/Status</c>.</summary>
    public static Method<StatusRequest, StatusResponse> Status { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "Status", StatusRequest.Parser, StatusResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/Session</c>.</summary>
    public static Method<BytesMessage, BytesMessage> Session { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "Session", BytesMessage.Parser, BytesMessage.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/ListWorkers</c>.</summary>
    public static Method<ListWorkersRequest, ListWorkersResponse> ListWorkers { get; } =
        new(MethodKind.Unary, ServiceName, "ListWorkers", ListWorkersRequest.Parser, ListWorkersResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/Info</c>.</summary>
    public static Method<InfoRequest, InfoResponse> Info { get; } =
        new(MethodKind.Unary, ServiceName, "Info", InfoRequest.Parser, InfoResponse.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/ListenBuildHistory</c>.</summary>
    public static Method<BuildHistoryRequest, BuildHistoryEvent> ListenBuildHistory { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "ListenBuildHistory", BuildHistoryRequest.Parser, BuildHistoryEvent.Parser);

    /// <summary><c>/moby.buildkit.v1.Control/UpdateBuildHistory</c>.</summary>
    public static Method<UpdateBuildHistoryRequest, UpdateBuildHistoryResponse> UpdateBuildHistory { get; } =
        new(MethodKind.Unary, ServiceName, "UpdateBuildHistory", UpdateBuildHistoryRequest.Parser, UpdateBuildHistoryResponse.Parser);
}
