using System.Threading.Channels;
using BuildKit.Protocol.Grpc;
using Google.Protobuf;

namespace BuildKit.Tests.Session;

/// <summary>Calls handlers directly, messages passing through their bytes; what a server makes of errors is done here too.</summary>
internal sealed class InMemoryChannel(params GrpcService[] services) : IGrpcChannel
{
    private readonly Dictionary<string, GrpcHandler> _handlers =
        services.SelectMany(service => service.Handlers).ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);

    /// <summary>Every message's bytes with its direction (true: from the caller), in the order of sending.</summary>
    public List<(bool FromCaller, byte[] Bytes)> Transcript { get; } = [];

    public Metadata? LastHeaders { get; private set; }

    public Task Closed { get; } = new TaskCompletionSource().Task;

    public int LargestMessage { get; private set; }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    public async Task<TResponse> UnaryAsync<TRequest, TResponse>(
        Method<TRequest, TResponse> method, TRequest request, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        if (!_handlers.TryGetValue(method.FullName, out var handler))
            throw new RpcException(StatusCode.Unimplemented, "unknown method " + method.FullName);
        var context = new Context(options.Headers ?? [], method.FullName, cancellationToken);
        try
        {
            return await ((UnaryHandler<TRequest, TResponse>)handler).Invoke(request, context);
        }
        catch (Exception failure)
        {
            throw ToStatus(failure);
        }
    }

    public IGrpcCall<TRequest, TResponse> Open<TRequest, TResponse>(
        Method<TRequest, TResponse> method, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        LastHeaders = options.Headers;
        if (!_handlers.TryGetValue(method.FullName, out var handler))
            throw new RpcException(StatusCode.Unimplemented, "unknown method " + method.FullName);
        return new Call<TRequest, TResponse>(this, method, (StreamHandler<TRequest, TResponse>)handler, options.Headers ?? [], cancellationToken);
    }

    private void Record(bool fromCaller, byte[] bytes)
    {
        lock (Transcript)
        {
            Transcript.Add((fromCaller, bytes));
            LargestMessage = Math.Max(LargestMessage, bytes.Length);
        }
    }

    private static RpcException ToStatus(Exception failure) =>
        failure as RpcException ?? new RpcException(failure is OperationCanceledException ? StatusCode.Cancelled : StatusCode.Unknown, failure.Message, failure);

    private sealed class Context(Metadata headers, string method, CancellationToken cancellationToken) : ServerCallContext
    {
        public override Metadata RequestHeaders => headers;

        public override Metadata ResponseHeaders { get; } = [];

        public override Metadata ResponseTrailers { get; } = [];

        public override CancellationToken CancellationToken => cancellationToken;

        public override string Method => method;
    }

    private sealed class Call<TRequest, TResponse> : ServerStream<TRequest, TResponse>, IGrpcCall<TRequest, TResponse>
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        private readonly InMemoryChannel _owner;
        private readonly Method<TRequest, TResponse> _method;
        private readonly CancellationTokenSource _source;
        private readonly Channel<byte[]> _requests = Channel.CreateBounded<byte[]>(16);
        private readonly Channel<byte[]> _responses = Channel.CreateBounded<byte[]>(16);
        private readonly Task _handling;
        private RpcException? _status;

        public Call(InMemoryChannel owner, Method<TRequest, TResponse> method, StreamHandler<TRequest, TResponse> handler, Metadata headers, CancellationToken cancellationToken)
        {
            (_owner, _method, RequestHeaders) = (owner, method, headers);
            _source = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            _handling = Task.Run(async () =>
            {
                try
                {
                    await handler.Invoke(this);
                }
                catch (Exception failure)
                {
                    _status = ToStatus(failure);
                }
                _responses.Writer.TryComplete();
                _requests.Writer.TryComplete(_status ?? new RpcException(StatusCode.Unknown, "call ended"));
            });
        }

        public override Metadata RequestHeaders { get; }

        Task<Metadata> IGrpcCall<TRequest, TResponse>.ResponseHeaders => Task.FromResult(ResponseHeaders);

        public override Metadata ResponseHeaders { get; } = [];

        public override Metadata ResponseTrailers { get; } = [];

        public override CancellationToken CancellationToken => _source.Token;

        public override string Method => _method.FullName;

        public Metadata Trailers => ResponseTrailers;

        public override async ValueTask<TRequest?> ReadAsync(CancellationToken cancellationToken) =>
            await _requests.Reader.WaitToReadAsync(cancellationToken) && _requests.Reader.TryRead(out var bytes)
                ? _method.RequestParser.ParseFrom(bytes)
                : null;

        public override async ValueTask SendAsync(TResponse message, CancellationToken cancellationToken)
        {
            var bytes = message.ToByteArray();
            _owner.Record(fromCaller: false, bytes);
            await _responses.Writer.WriteAsync(bytes, cancellationToken);
        }

        public async ValueTask SendAsync(TRequest message, CancellationToken cancellationToken)
        {
            var bytes = message.ToByteArray();
            _owner.Record(fromCaller: true, bytes);
            try
            {
                await _requests.Writer.WriteAsync(bytes, cancellationToken);
            }
            catch (ChannelClosedException closed)
            {
                throw closed.InnerException as RpcException ?? new RpcException(StatusCode.Unknown, "call ended", closed);
            }
        }

        public ValueTask CompleteAsync(CancellationToken cancellationToken)
        {
            _requests.Writer.TryComplete();
            return ValueTask.CompletedTask;
        }

        async ValueTask<TResponse?> IGrpcCall<TRequest, TResponse>.ReadAsync(CancellationToken cancellationToken)
        {
            if (await _responses.Reader.WaitToReadAsync(cancellationToken) && _responses.Reader.TryRead(out var bytes))
                return _method.ResponseParser.ParseFrom(bytes);
            return _status is null ? null : throw _status;
        }

        public async ValueTask DisposeAsync()
        {
            _requests.Writer.TryComplete();
            await _source.CancelAsync();
            await _handling;
            _source.Dispose();
        }
    }
}
