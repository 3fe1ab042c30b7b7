using BuildKit.Protocol.Content;
using BuildKit.Protocol.Grpc;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Protocol.Services;

/// <summary>A store of blobs named by digest (spec 01 §1.6).</summary>
public static class ContentMethods
{
    /// <summary>Package and service name on the wire.</summary>
    public const string ServiceName = "containerd.services.content.v1.Content";

    /// <summary><c>/containerd.services.content.v1.Content/Info</c>.</summary>
    public static Method<InfoRequest, InfoResponse> Info { get; } =
        new(MethodKind.Unary, ServiceName, "Info", InfoRequest.Parser, InfoResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Update</c>.</summary>
    public static Method<UpdateRequest, UpdateResponse> Update { get; } =
        new(MethodKind.Unary, ServiceName, "Update", UpdateRequest.Parser, UpdateResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/List</c>.</summary>
    public static Method<ListContentRequest, ListContentResponse> List { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "List", ListContentRequest.Parser, ListContentResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Delete</c>.</summary>
    public static Method<DeleteContentRequest, Empty> Delete { get; } =
        new(MethodKind.Unary, ServiceName, "Delete", DeleteContentRequest.Parser, Empty.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Read</c>.</summary>
    public static Method<ReadContentRequest, ReadContentResponse> Read { get; } =
        new(MethodKind.ServerStreaming, ServiceName, "Read", ReadContentRequest.Parser, ReadContentResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Status</c>.</summary>
    public static Method<StatusRequest, StatusResponse> Status { get; } =
        new(MethodKind.Unary, ServiceName, "Status", StatusRequest.Parser, StatusResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/ListStatuses</c>.</summary>
    public static Method<ListStatusesRequest, ListStatusesResponse> ListStatuses { get; } =
        new(MethodKind.Unary, ServiceName, "ListStatuses", ListStatusesRequest.Parser, ListStatusesResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Write</c>.</summary>
    public static Method<WriteContentRequest, WriteContentResponse> Write { get; } =
        new(MethodKind.DuplexStreaming, ServiceName, "Write", WriteContentRequest.Parser, WriteContentResponse.Parser);

    /// <summary><c>/containerd.services.content.v1.Content/Abort</c>.</summary>
    public static Method<AbortRequest, Empty> Abort { get; } =
        new(MethodKind.Unary, ServiceName, "Abort", AbortRequest.Parser, Empty.Parser);
}
