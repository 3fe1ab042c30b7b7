using BuildKit.Protocol.Grpc;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace BuildKit.Protocol.Server;

/// <summary>How a server behaves.</summary>
public sealed record GrpcServerOptions
{
    /// <summary>Largest message accepted, in bytes (after decompression).</summary>
    public int MaxReceiveMessageSize { get; init; } = 16 << 20;

    /// <summary>Largest message sent, in bytes.</summary>
    public int MaxSendMessageSize { get; init; } = 16 << 20;

    /// <summary>Largest request header list, in bytes; patterns of a build context travel in headers.</summary>
    public int MaxHeaderListSize { get; init; } = 16 << 20;

    /// <summary>Calls one connection may have open.</summary>
    public int MaxStreamsPerConnection { get; init; } = 4096;

    /// <summary>Turns what a handler threw into what the peer is told. Not asked for
    /// <see cref="RpcException"/>, nor for cancellation of the call.</summary>
    public Func<Exception, RpcException> MapError { get; init; } = DefaultError;

    /// <summary>Where the server logs.</summary>
    public ILoggerFactory Logging { get; init; } = NullLoggerFactory.Instance;

    /// <summary>Clock of deadlines.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Spec 01 §3.1: cancellation is Canceled, everything else Unknown with its text.</summary>
    public static RpcException DefaultError(Exception error) => error switch
    {
        RpcException rpc => rpc,
        OperationCanceledException => new RpcException(StatusCode.Cancelled, "context canceled", error),
        TimeoutException => new RpcException(StatusCode.DeadlineExceeded, error.Message, error),
        _ => new RpcException(StatusCode.Unknown, error.Message, error),
    };
}
