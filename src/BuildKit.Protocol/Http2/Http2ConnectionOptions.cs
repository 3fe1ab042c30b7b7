namespace BuildKit.Protocol.Http2;

/// <summary>How a client connection behaves.</summary>
public sealed record Http2ConnectionOptions
{
    /// <summary>The <c>:authority</c> of every call.</summary>
    public string Authority { get; init; } = "localhost";

    /// <summary>The <c>:scheme</c>: <c>http</c>, or <c>https</c> over TLS.</summary>
    public string Scheme { get; init; } = "http";

    /// <summary>The <c>user-agent</c> of every call.</summary>
    public string UserAgent { get; init; } = "buildkit-dotnet/0.20";

    /// <summary>Largest message accepted, in bytes (after decompression).</summary>
    public int MaxReceiveMessageSize { get; init; } = 16 << 20;

    /// <summary>Largest message sent, in bytes.</summary>
    public int MaxSendMessageSize { get; init; } = 16 << 20;

    /// <summary>Largest response header list accepted, in bytes; error details embed whole Dockerfiles.</summary>
    public int MaxHeaderListSize { get; init; } = 16 << 20;

    /// <summary>Bytes the peer may send on the connection ahead of being told to go on.</summary>
    public int ConnectionWindow { get; init; } = 16 << 20;

    /// <summary>Bytes the peer may send on one call ahead of the reader.</summary>
    public int StreamWindow { get; init; } = 2 << 20;

    /// <summary>Clock of call timeouts.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}
