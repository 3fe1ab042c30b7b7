using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Protocol.Grpc;

/// <summary>
/// The failure of a call as it travels: a status code, the text for people and typed details
/// (spec 01 §3). Thrown by both the client role (what the peer answered) and by handlers in the server
/// role (what the peer is to be told).
/// </summary>
public sealed class RpcException : Exception
{
    /// <summary>Makes an error without details.</summary>
    public RpcException(StatusCode code, string detail, Exception? inner = null)
        : this(code, detail, [], inner)
    {
    }

    /// <summary>Makes an error that carries typed details.</summary>
    public RpcException(StatusCode code, string detail, IReadOnlyList<Any> details, Exception? inner = null)
        : base(detail, inner)
    {
        Code = code;
        Details = details;
    }

    /// <summary>What <c>grpc-status</c> says.</summary>
    public StatusCode Code { get; }

    /// <summary>The entries of <c>google.rpc.Status.details</c>, in wire order; unknown types are kept.</summary>
    public IReadOnlyList<Any> Details { get; }
}
