using Google.Protobuf;

namespace BuildKit.Protocol.Grpc;

/// <summary>What a caller may say about one call.</summary>
/// <param name="Headers">Extra request header fields; repeated keys are sent as separate fields.</param>
/// <param name="Timeout">Sent as <c>grpc-timeout</c> and enforced locally; null means none.</param>
public readonly record struct CallOptions(Metadata? Headers = null, TimeSpan? Timeout = null);

/// <summary>
/// The client role of one HTTP/2 connection. Calls may be made concurrently. When the connection breaks,
/// every open call fails with <see cref="StatusCode.Unavailable"/> and <see cref="Closed"/> completes.
/// </summary>
public interface IGrpcChannel : IAsyncDisposable
{
    /// <summary>Completes (never faults) when the connection is gone, whoever closed it.</summary>
    Task Closed { get; }

    /// <summary>Makes a unary call. Errors: <see cref="RpcException"/> with what the peer answered;
    /// <see cref="OperationCanceledException"/> when <paramref name="cancellationToken"/> fired.</summary>
    Task<TResponse> UnaryAsync<TRequest, TResponse>(
        Method<TRequest, TResponse> method, TRequest request, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>;

    /// <summary>Opens a call of any streaming kind. The caller disposes it; disposing an unfinished call
    /// cancels it on the wire (RST_STREAM CANCEL).</summary>
    IGrpcCall<TRequest, TResponse> Open<TRequest, TResponse>(
        Method<TRequest, TResponse> method, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>;
}

/// <summary>A running streaming call in the client role. One sender and one reader at a time.</summary>
public interface IGrpcCall<in TRequest, TResponse> : IAsyncDisposable
{
    /// <summary>The header block the peer sent before its first message.</summary>
    Task<Metadata> ResponseHeaders { get; }

    /// <summary>The trailers; valid after the read side ended.</summary>
    Metadata Trailers { get; }

    /// <summary>Sends one message, waiting for flow control. Fails with the call's <see cref="RpcException"/>
    /// when the peer has already ended it.</summary>
    ValueTask SendAsync(TRequest message, CancellationToken cancellationToken);

    /// <summary>Half-closes: no more messages will be sent.</summary>
    ValueTask CompleteAsync(CancellationToken cancellationToken);

    /// <summary>The next message, or null after a clean end. Any other end throws <see cref="RpcException"/>.</summary>
    ValueTask<TResponse?> ReadAsync(CancellationToken cancellationToken);
}
