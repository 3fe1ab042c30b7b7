using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using BuildKit.Protocol.Grpc;
using Google.Protobuf;

namespace BuildKit.Protocol.Http2;

/// <summary>One gRPC call on a client connection: message framing, deadline and cancellation.</summary>
internal sealed class Http2Call<TRequest, TResponse> : IGrpcCall<TRequest, TResponse>
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    private readonly Http2Connection _connection;
    private readonly Method<TRequest, TResponse> _method;
    private readonly Http2Stream _stream;
    private readonly CancellationTokenRegistration _cancellation;
    private readonly ITimer? _deadline;

    // Bytes at the head of the pipe the peer has been credited for though they are not consumed yet.
    private long _creditedAhead;
    private bool _readEnded;
    private bool _disposed;

    public Http2Call(
        Http2Connection connection,
        Method<TRequest, TResponse> method,
        CallOptions options,
        CancellationToken cancellationToken,
        bool hold)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _connection = connection;
        _method = method;
        _stream = connection.OpenStream(RequestHeaders(connection.Options, method, options), hold);
        _cancellation = cancellationToken.UnsafeRegister(
            static (state, token) => ((Http2Call<TRequest, TResponse>)state!).Cancel(
                new OperationCanceledException(token)),
            this);
        if (options.Timeout is { } timeout)
            _deadline = connection.Options.Time.CreateTimer(
                static state => ((Http2Call<TRequest, TResponse>)state!).Cancel(
                    new RpcException(StatusCode.DeadlineExceeded, "context deadline exceeded")),
                this,
                timeout < TimeSpan.Zero ? TimeSpan.Zero : timeout,
                Timeout.InfiniteTimeSpan);
    }

    /// <summary>The peer, the connection or our own cancellation has ended the call.</summary>
    public bool Ended => _stream.Ended;

    public Task<Metadata> ResponseHeaders => _stream.ResponseHeaders;

    public Metadata Trailers => _stream.Trailers;

    public ValueTask SendAsync(TRequest message, CancellationToken cancellationToken) =>
        SendAsync(message, end: false, cancellationToken);

    public ValueTask SendLastAsync(TRequest message, CancellationToken cancellationToken) =>
        SendAsync(message, end: true, cancellationToken);

    public async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        if (_stream.LocalEnded || _stream.Ended)
            return;
        try
        {
            await _connection.SendDataAsync(_stream, default, end: true, cancellationToken);
        }
        catch (RpcException) when (_stream.Ended)
        {
            // Nothing to half-close any more; the reading side says how the call ended.
        }
    }

    public async ValueTask<TResponse?> ReadAsync(CancellationToken cancellationToken)
    {
        if (_readEnded)
            return End();
        while (true)
        {
            if (_stream is { Ended: true, Error: OperationCanceledException or RpcException { Code: StatusCode.DeadlineExceeded } })
                return End();
            var read = await _stream.Received.ReadAsync(cancellationToken);
            var buffer = read.Buffer;
            if (TryParse(buffer, out var message, out var length))
            {
                _stream.Received.AdvanceTo(buffer.GetPosition(length));
                var fresh = length - _creditedAhead;
                _creditedAhead = Math.Max(0, -fresh);
                if (fresh > 0)
                    _connection.Credit(_stream, fresh);
                return message;
            }

            if (read.IsCompleted)
            {
                _stream.Received.AdvanceTo(buffer.End);
                _readEnded = true;
                if (!buffer.IsEmpty && _stream.Error is null)
                    throw new RpcException(StatusCode.Internal, $"{_method.FullName}: the peer ended inside a message");
                return End();
            }

            // A message may be larger than the window: what has come of it is credited before it is complete.
            var ahead = buffer.Length - _creditedAhead;
            _creditedAhead = buffer.Length;
            _stream.Received.AdvanceTo(buffer.Start, buffer.End);
            if (ahead > 0)
                _connection.Credit(_stream, ahead);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await _cancellation.DisposeAsync();
        if (_deadline is not null)
            await _deadline.DisposeAsync();
        _connection.Abort(_stream, new OperationCanceledException("the call was disposed"));
        await _stream.Received.CompleteAsync();
    }

    private static List<HeaderField> RequestHeaders(
        Http2ConnectionOptions connection, Method<TRequest, TResponse> method, CallOptions options)
    {
        var headers = new List<HeaderField>(9 + (options.Headers?.Count ?? 0))
        {
            new(":method", "POST"),
            new(":scheme", connection.Scheme),
            new(":path", method.FullName),
            new(":authority", connection.Authority),
            new("content-type", "application/grpc"),
            new("user-agent", connection.UserAgent),
            new("te", "trailers"),
            new("grpc-accept-encoding", "gzip"),
        };
        if (options.Timeout is { } timeout)
            headers.Add(new("grpc-timeout", GrpcTimeout.Format(timeout)));
        foreach (var (name, value) in options.Headers ?? [])
            headers.Add(new(name, value));
        return headers;
    }

    private async ValueTask SendAsync(TRequest message, bool end, CancellationToken cancellationToken)
    {
        var size = message.CalculateSize();
        if (size > _connection.Options.MaxSendMessageSize)
        {
            var error = new RpcException(
                StatusCode.ResourceExhausted,
                $"trying to send message larger than max ({size} vs. {_connection.Options.MaxSendMessageSize})");
            throw error;
        }

        var rented = ArrayPool<byte>.Shared.Rent(GrpcFraming.PrefixLength + size);
        try
        {
            GrpcFraming.WritePrefix(rented, size);
            message.WriteTo(rented.AsSpan(GrpcFraming.PrefixLength, size));
            await _connection.SendDataAsync(
                _stream, rented.AsMemory(0, GrpcFraming.PrefixLength + size), end, cancellationToken);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    private bool TryParse(ReadOnlySequence<byte> buffer, out TResponse? message, out long length)
    {
        try
        {
            return GrpcFraming.TryParse(
                buffer, _method.ResponseParser, _stream.Encoding, _connection.Options.MaxReceiveMessageSize, out message, out length);
        }
        catch (RpcException e)
        {
            _stream.Received.AdvanceTo(buffer.End);
            _readEnded = true;
            Cancel(e);
            throw;
        }
    }

    private TResponse? End() => _stream.Error switch
    {
        null => null,
        RpcException rpc => throw new RpcException(rpc.Code, rpc.Message, rpc.Details, rpc),
        var other => throw new OperationCanceledException(
            other.Message, other, (other as OperationCanceledException)?.CancellationToken ?? CancellationToken.None),
    };

    private void Cancel(Exception error) => _connection.Abort(_stream, error);
}
