using Google.Protobuf;

namespace BuildKit.Protocol.Grpc;

/// <summary>Which side of a call streams.</summary>
public enum MethodKind
{
    Unary,
    ServerStreaming,
    ClientStreaming,
    DuplexStreaming,
}

/// <summary>One method of a service: its name on the wire and how its messages are parsed.</summary>
/// <param name="Kind">Which side streams.</param>
/// <param name="Service">Package and service, for example <c>moby.buildkit.v1.Control</c>.</param>
/// <param name="Name">The method, for example <c>Solve</c>.</param>
/// <param name="RequestParser">Parser of the request message.</param>
/// <param name="ResponseParser">Parser of the response message.</param>
public sealed record Method<TRequest, TResponse>(
    MethodKind Kind,
    string Service,
    string Name,
    MessageParser<TRequest> RequestParser,
    MessageParser<TResponse> ResponseParser)
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    /// <summary>The HTTP/2 <c>:path</c>: <c>/package.Service/Method</c>.</summary>
    public string FullName => $"/{Service}/{Name}";
}
