using BuildKit.Protocol.Server;
using Google.Protobuf;

namespace BuildKit.Protocol.Grpc;

/// <summary>What a handler knows of the call it serves.</summary>
public abstract class ServerCallContext
{
    /// <summary>Request header fields, each repeated one kept.</summary>
    public abstract Metadata RequestHeaders { get; }

    /// <summary>Fields sent with the response header block; fixed once the first message is written.</summary>
    public abstract Metadata ResponseHeaders { get; }

    /// <summary>Fields added to the trailers.</summary>
    public abstract Metadata ResponseTrailers { get; }

    /// <summary>Fires when the peer cancelled, the deadline passed or the connection broke.</summary>
    public abstract CancellationToken CancellationToken { get; }

    /// <summary>Full method name, <c>/package.Service/Method</c>.</summary>
    public abstract string Method { get; }

    /// <summary>Sends <see cref="ResponseHeaders"/> now instead of with the first message, for streams whose
    /// first message may be long in coming.</summary>
    public virtual ValueTask SendHeadersAsync(CancellationToken cancellationToken) => default;
}

/// <summary>The server end of a streaming call. One reader and one writer at a time.</summary>
public abstract class ServerStream<TRequest, TResponse> : ServerCallContext
{
    /// <summary>The next request message, or null after the client half-closed.</summary>
    public abstract ValueTask<TRequest?> ReadAsync(CancellationToken cancellationToken);

    /// <summary>Sends one message, waiting for flow control.</summary>
    public abstract ValueTask SendAsync(TResponse message, CancellationToken cancellationToken);
}

/// <summary>
/// A service as a table of handlers, independent of the server that carries it: the daemon's listeners, the
/// callee end of a session and a frontend's stdio all take the same object.
/// </summary>
public sealed class GrpcService
{
    private readonly Dictionary<string, GrpcHandler> _handlers = new(StringComparer.Ordinal);

    /// <summary>Handlers by full method name.</summary>
    public IReadOnlyDictionary<string, GrpcHandler> Handlers => _handlers;

    /// <summary>Serves a unary method.</summary>
    public GrpcService Unary<TRequest, TResponse>(
        Method<TRequest, TResponse> method, Func<TRequest, ServerCallContext, Task<TResponse>> handler)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        _handlers.Add(method.FullName, new UnaryHandler<TRequest, TResponse>(method, handler));
        return this;
    }

    /// <summary>Serves a method of any streaming kind; returning ends the call with OK, throwing with the error.</summary>
    public GrpcService Stream<TRequest, TResponse>(
        Method<TRequest, TResponse> method, Func<ServerStream<TRequest, TResponse>, Task> handler)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        _handlers.Add(method.FullName, new StreamHandler<TRequest, TResponse>(method, handler));
        return this;
    }
}

/// <summary>One row of a <see cref="GrpcService"/>; servers dispatch on the concrete type.</summary>
public abstract record GrpcHandler
{
    /// <summary>Runs the handler on a call of a server of this assembly.</summary>
    internal abstract Task RunAsync(ServerCall call);
}

/// <summary>A unary method with its handler.</summary>
public sealed record UnaryHandler<TRequest, TResponse>(
    Method<TRequest, TResponse> Method, Func<TRequest, ServerCallContext, Task<TResponse>> Invoke) : GrpcHandler
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    internal override async Task RunAsync(ServerCall call)
    {
        var context = new ServerCallStream<TRequest, TResponse>(call, Method);
        var request = await context.ReadAsync(call.CancellationToken)
            ?? throw new RpcException(StatusCode.Internal, "the client ended the call without a request");
        await context.SendAsync(await Invoke(request, context), call.CancellationToken);
    }
}

/// <summary>A streaming method with its handler.</summary>
public sealed record StreamHandler<TRequest, TResponse>(
    Method<TRequest, TResponse> Method, Func<ServerStream<TRequest, TResponse>, Task> Invoke) : GrpcHandler
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    internal override Task RunAsync(ServerCall call) =>
        Invoke(new ServerCallStream<TRequest, TResponse>(call, Method));
}
