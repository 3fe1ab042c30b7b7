using System.Buffers;
using BuildKit.Protocol.Grpc;
using Google.Protobuf;

namespace BuildKit.Protocol.Http2;

/// <summary>
/// The client role of HTTP/2, as far as gRPC needs it, over any duplex stream. It exists because
/// <c>HttpClient</c> joins repeated header fields, which Go peers then misread (spec 01, trap 1), and because
/// a session's stream is not a socket.
/// </summary>
/// <remarks>
/// One gate guards all state. Whoever has something to send appends frames to a buffer under the gate; the
/// first to find nobody writing becomes the writer and writes whatever has gathered, so concurrent calls share
/// writes. One loop reads. It never waits for a write or for a reader of a call.
/// </remarks>
public sealed partial class Http2Connection : IGrpcChannel
{
    private const int DefaultWindow = 65535;
    private const int ReceiveFrameSize = 128 << 10;

    private readonly Lock _gate = new();
    private readonly Stream _transport;
    private readonly Http2ConnectionOptions _options;
    private readonly Dictionary<int, Http2Stream> _streams = [];
    private readonly Queue<Http2Stream> _waiting = new();
    private readonly CancellationTokenSource _lifetime = new();
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _reading;

    private int _nextStreamId = 1;
    private RpcException? _failure;
    private bool _draining;

    private Http2Connection(Stream transport, Http2ConnectionOptions options)
    {
        _transport = transport;
        _options = options;
        _decoder = new HpackDecoder(options.MaxHeaderListSize);
        WritePreface();
        Kick();
        _reading = ReadLoopAsync();
    }

    /// <inheritdoc/>
    public Task Closed => _closed.Task;

    /// <summary>Starts HTTP/2 on a stream, with prior knowledge. The connection owns the stream.</summary>
    public static Http2Connection Start(Stream transport, Http2ConnectionOptions? options = null) =>
        new(transport, options ?? new Http2ConnectionOptions());

    /// <inheritdoc/>
    public async Task<TResponse> UnaryAsync<TRequest, TResponse>(
        Method<TRequest, TResponse> method, TRequest request, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse>
    {
        await using var call = new Http2Call<TRequest, TResponse>(this, method, options, cancellationToken, hold: true);
        try
        {
            await call.SendLastAsync(request, cancellationToken);
        }
        catch (RpcException) when (call.Ended)
        {
            // The peer answered before it had the whole request; what it said is read below.
        }

        var response = await call.ReadAsync(cancellationToken)
            ?? throw new RpcException(StatusCode.Internal, $"{method.FullName}: the peer answered without a message");
        if (await call.ReadAsync(cancellationToken) is not null)
            throw new RpcException(StatusCode.Internal, $"{method.FullName}: the peer answered with more than one message");
        return response;
    }

    /// <inheritdoc/>
    public IGrpcCall<TRequest, TResponse> Open<TRequest, TResponse>(
        Method<TRequest, TResponse> method, CallOptions options, CancellationToken cancellationToken)
        where TRequest : class, IMessage<TRequest>
        where TResponse : class, IMessage<TResponse> =>
        new Http2Call<TRequest, TResponse>(this, method, options, cancellationToken, hold: false);

    /// <summary>Says GOAWAY, fails what is still running with Unavailable and closes the stream.</summary>
    public async ValueTask DisposeAsync()
    {
        Task writing;
        lock (_gate)
        {
            if (_failure is null)
                WriteGoAway(Http2ErrorCode.NoError, "");
        }

        Kick();
        lock (_gate)
            writing = _writing;
        // A peer that reads nothing must not hold up the end.
        await Task.WhenAny(writing, Task.Delay(TimeSpan.FromMilliseconds(250), CancellationToken.None));
        Fail(new RpcException(StatusCode.Unavailable, "the connection was closed"));
        await _reading;
        await _closed.Task;
    }

    internal Http2ConnectionOptions Options => _options;

    /// <summary>Puts a call on the wire, or in the queue when the peer allows no more streams.</summary>
    internal Http2Stream OpenStream(IReadOnlyList<HeaderField> headers, bool hold)
    {
        var stream = new Http2Stream { RequestHeaders = headers };
        lock (_gate)
        {
            if (_failure is not null)
            {
                stream.End(new RpcException(StatusCode.Unavailable, _failure.Message, _failure), trailers: null);
            }
            else if (_draining || _nextStreamId < 0)
            {
                stream.End(new RpcException(StatusCode.Unavailable, "the peer is going away"), trailers: null);
            }
            else if (_streams.Count >= _peerMaxStreams || _waiting.Count > 0)
            {
                _waiting.Enqueue(stream);
            }
            else
            {
                StartStream(stream);
            }
        }

        if (!hold)
            Kick();
        return stream;
    }

    /// <summary>Ends a call from our side; on the wire RST_STREAM unless both sides have ended.</summary>
    internal void Abort(Http2Stream stream, Exception error)
    {
        lock (_gate)
        {
            if (stream.Ended)
                return;
            if (stream.Id != 0)
            {
                WriteReset(stream.Id, Http2ErrorCode.Cancel);
                _streams.Remove(stream.Id);
            }

            stream.End(error, trailers: null);
            StartWaiting();
            CloseWhenDrained();
        }

        Kick();
    }

    /// <summary>Tells the peer it may send as many bytes more on this call. Sent in portions.</summary>
    internal void Credit(Http2Stream stream, long bytes)
    {
        lock (_gate)
        {
            if (stream.Ended || _failure is not null)
                return;
            stream.PendingCredit += bytes;
            if (stream.PendingCredit < _options.StreamWindow / 4)
                return;
            stream.ReceiveWindow += stream.PendingCredit;
            WriteWindowUpdate(stream.Id, stream.PendingCredit);
            stream.PendingCredit = 0;
        }

        Kick();
    }

    // Everything below runs under the gate unless it says otherwise.
    private void StartStream(Http2Stream stream)
    {
        if (HeaderListSize(stream.RequestHeaders) > _peerMaxHeaderList)
        {
            stream.End(
                new RpcException(
                    StatusCode.Internal,
                    $"header list size to send violates the maximum size ({_peerMaxHeaderList} bytes) set by server"),
                trailers: null);
            return;
        }

        stream.Id = _nextStreamId;
        _nextStreamId = unchecked(_nextStreamId + 2);
        stream.SendWindow = _peerInitialWindow;
        stream.ReceiveWindow = _options.StreamWindow;
        _streams.Add(stream.Id, stream);
        WriteHeaders(stream);
        stream.Wake();
    }

    private void StartWaiting()
    {
        while (_waiting.Count > 0 && _streams.Count < _peerMaxStreams && !_draining && _failure is null)
        {
            var next = _waiting.Dequeue();
            if (!next.Ended)
                StartStream(next);
        }
    }

    private void EndStream(Http2Stream stream, Exception? error, Metadata? trailers)
    {
        _streams.Remove(stream.Id);
        if (!stream.LocalEnded && !stream.Ended)
            WriteReset(stream.Id, Http2ErrorCode.Cancel);
        stream.End(error, trailers);
        StartWaiting();
        CloseWhenDrained();
    }

    private void CloseWhenDrained()
    {
        if (_draining && _streams.Count == 0 && _failure is null)
            ThreadPool.UnsafeQueueUserWorkItem(
                static connection => connection.Fail(new RpcException(StatusCode.Unavailable, "the peer went away")),
                this,
                preferLocal: false);
    }

    /// <summary>Ends the connection and every call on it. Takes the gate itself.</summary>
    private void Fail(RpcException failure)
    {
        lock (_gate)
        {
            if (_failure is not null)
                return;
            _failure = failure;
            foreach (var stream in _streams.Values)
                stream.End(new RpcException(StatusCode.Unavailable, failure.Message, failure), trailers: null);
            foreach (var stream in _waiting)
                stream.End(new RpcException(StatusCode.Unavailable, failure.Message, failure), trailers: null);
            _streams.Clear();
            _waiting.Clear();
        }

        _lifetime.Cancel();
        _transport.Dispose();
        _closed.TrySetResult();
    }

    private static long HeaderListSize(IReadOnlyList<HeaderField> fields)
    {
        long size = 0;
        foreach (var field in fields)
            size += field.Size;
        return size;
    }
}
