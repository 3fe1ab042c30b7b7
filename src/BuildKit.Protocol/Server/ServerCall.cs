using System.Buffers;
using BuildKit.Protocol.Grpc;
using Google.Protobuf;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Protocol.Server;

/// <summary>One call as the server sees it: its features, deadline, header state and outcome.</summary>
internal sealed class ServerCall : IDisposable
{
    private readonly IFeatureCollection _features;
    private readonly IHttpRequestFeature _request;
    private readonly IHttpResponseFeature _response;
    private readonly IHttpResponseBodyFeature _body;
    private readonly CancellationTokenSource? _deadlineSource;
    private readonly ITimer? _deadlineTimer;
    private readonly GrpcServerOptions _options;
    private bool _deadlinePassed;
    private bool _headersSent;
    private Metadata? _requestHeaders;

    public ServerCall(IFeatureCollection features, GrpcServerOptions options)
    {
        _features = features;
        _options = options;
        _request = features.GetRequiredFeature<IHttpRequestFeature>();
        _response = features.GetRequiredFeature<IHttpResponseFeature>();
        _body = features.GetRequiredFeature<IHttpResponseBodyFeature>();
        CancellationToken = features.GetRequiredFeature<IHttpRequestLifetimeFeature>().RequestAborted;
        Encoding = _request.Headers["grpc-encoding"].ToString();
        if (_request.Headers.TryGetValue("grpc-timeout", out var value)
            && GrpcTimeout.Parse(value.ToString()) is { } timeout
            && timeout < TimeSpan.FromDays(40))
        {
            _deadlineSource = CancellationTokenSource.CreateLinkedTokenSource(CancellationToken);
            CancellationToken = _deadlineSource.Token;
            _deadlineTimer = options.Time.CreateTimer(
                static state => ((ServerCall)state!).OnDeadline(), this, timeout, Timeout.InfiniteTimeSpan);
        }
    }

    public CancellationToken CancellationToken { get; }

    public string Encoding { get; }

    public string Method => _request.Path;

    public string HttpMethod => _request.Method;

    public string ContentType => _request.Headers.ContentType.ToString();

    public Metadata ResponseHeaders { get; } = new();

    public Metadata ResponseTrailers { get; } = new();

    public Metadata RequestHeaders
    {
        get
        {
            if (_requestHeaders is not null)
                return _requestHeaders;
            var metadata = new Metadata();
            foreach (var (name, values) in _request.Headers)
                foreach (var value in values)
                    if (!name.StartsWith(':'))
                        metadata.Add(name, value ?? "");
            return _requestHeaders = metadata;
        }
    }

    public void RefuseAsNotGrpc()
    {
        _response.StatusCode = string.Equals(HttpMethod, "POST", StringComparison.Ordinal) ? 415 : 405;
        _headersSent = true;
    }

    public async ValueTask<T?> ReadAsync<T>(MessageParser<T> parser, CancellationToken cancellationToken)
        where T : class, IMessage<T>
    {
        var reader = _features.GetRequiredFeature<IRequestBodyPipeFeature>().Reader;
        using var both = Join(cancellationToken, out var token);
        try
        {
            while (true)
            {
                var read = await reader.ReadAsync(token);
                var buffer = read.Buffer;
                if (GrpcFraming.TryParse(buffer, parser, Encoding, _options.MaxReceiveMessageSize, out var message, out var length))
                {
                    reader.AdvanceTo(buffer.GetPosition(length));
                    return message;
                }

                if (read.IsCompleted)
                {
                    var rest = buffer.Length;
                    reader.AdvanceTo(buffer.End);
                    return rest == 0 ? null : throw new RpcException(StatusCode.Internal, "the client ended inside a message");
                }

                reader.AdvanceTo(buffer.Start, buffer.End);
            }
        }
        catch (IOException e)
        {
            throw new OperationCanceledException("the client is gone", e, CancellationToken);
        }
    }

    public async ValueTask SendAsync<T>(T message, CancellationToken cancellationToken)
        where T : class, IMessage<T>
    {
        var size = message.CalculateSize();
        if (size > _options.MaxSendMessageSize)
            throw new RpcException(
                StatusCode.ResourceExhausted,
                $"trying to send message larger than max ({size} vs. {_options.MaxSendMessageSize})");
        CancellationToken.ThrowIfCancellationRequested();
        WriteHeaders();
        var total = GrpcFraming.PrefixLength + size;
        if (total <= 16 << 10)
        {
            Serialize(message, size, _body.Writer.GetSpan(total));
            _body.Writer.Advance(total);
        }
        else
        {
            var rented = ArrayPool<byte>.Shared.Rent(total);
            Serialize(message, size, rented);
            _body.Writer.Write(rented.AsSpan(0, total));
            ArrayPool<byte>.Shared.Return(rented);
        }

        await FlushAsync(cancellationToken);
    }

    public async ValueTask SendHeadersAsync(CancellationToken cancellationToken)
    {
        CancellationToken.ThrowIfCancellationRequested();
        WriteHeaders();
        await FlushAsync(cancellationToken);
    }

    /// <summary>Ends the call with OK or an error. Without an earlier message the outcome travels in the one
    /// header block there is.</summary>
    public void End(Exception? error)
    {
        if (error is OperationCanceledException && _deadlinePassed)
            error = new RpcException(StatusCode.DeadlineExceeded, "context deadline exceeded", error);
        var outcome = error switch
        {
            null => null,
            RpcException { Code: StatusCode.OK } ok => new RpcException(StatusCode.Unknown, ok.Message, ok.Details, ok),
            RpcException rpc => rpc,
            _ => _options.MapError(error),
        };
        if (!_headersSent && outcome is not null)
        {
            WriteHeaders();
            foreach (var (name, value) in ResponseTrailers)
                Append(_response.Headers, name, value);
            GrpcStatus.Write(outcome, (name, value) => Append(_response.Headers, name, value));
            return;
        }

        WriteHeaders();
        var trailers = _features.GetRequiredFeature<IHttpResponseTrailersFeature>().Trailers;
        foreach (var (name, value) in ResponseTrailers)
            Append(trailers, name, value);
        GrpcStatus.Write(outcome, (name, value) => Append(trailers, name, value));
    }

    public void Dispose()
    {
        _deadlineTimer?.Dispose();
        _deadlineSource?.Dispose();
    }

    private static void Append(Microsoft.AspNetCore.Http.IHeaderDictionary headers, string name, string value) =>
        headers[name] = Microsoft.Extensions.Primitives.StringValues.Concat(headers[name], value);

    private static void Serialize<T>(T message, int size, Span<byte> target)
        where T : class, IMessage<T>
    {
        GrpcFraming.WritePrefix(target, size);
        message.WriteTo(target.Slice(GrpcFraming.PrefixLength, size));
    }

    private async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        using var both = Join(cancellationToken, out var token);
        var flushed = await _body.Writer.FlushAsync(token);
        if (flushed.IsCompleted || flushed.IsCanceled)
        {
            CancellationToken.ThrowIfCancellationRequested();
            throw new OperationCanceledException("the client is gone");
        }
    }

    private void WriteHeaders()
    {
        if (_headersSent)
            return;
        _headersSent = true;
        _response.StatusCode = 200;
        _response.Headers.ContentType = "application/grpc";
        foreach (var (name, value) in ResponseHeaders)
            Append(_response.Headers, name, value);
    }

    private CancellationTokenSource? Join(CancellationToken cancellationToken, out CancellationToken token)
    {
        if (!cancellationToken.CanBeCanceled || cancellationToken == CancellationToken)
        {
            token = CancellationToken;
            return null;
        }

        var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, CancellationToken);
        token = both.Token;
        return both;
    }

    private void OnDeadline()
    {
        _deadlinePassed = true;
        try
        {
            _deadlineSource!.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // The call ended while its deadline was passing.
        }
    }
}

/// <summary>What handlers are given.</summary>
internal sealed class ServerCallStream<TRequest, TResponse>(ServerCall call, Method<TRequest, TResponse> method)
    : ServerStream<TRequest, TResponse>
    where TRequest : class, IMessage<TRequest>
    where TResponse : class, IMessage<TResponse>
{
    public override Metadata RequestHeaders => call.RequestHeaders;

    public override Metadata ResponseHeaders => call.ResponseHeaders;

    public override Metadata ResponseTrailers => call.ResponseTrailers;

    public override CancellationToken CancellationToken => call.CancellationToken;

    public override string Method => call.Method;

    public override ValueTask<TRequest?> ReadAsync(CancellationToken cancellationToken) =>
        call.ReadAsync(method.RequestParser, cancellationToken);

    public override ValueTask SendAsync(TResponse message, CancellationToken cancellationToken) =>
        call.SendAsync(message, cancellationToken);

    public override ValueTask SendHeadersAsync(CancellationToken cancellationToken) =>
        call.SendHeadersAsync(cancellationToken);
}
