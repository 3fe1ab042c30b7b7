namespace BuildKit.Protocol.Http2;

/// <summary>Frame types (RFC 9113 §6).</summary>
internal enum FrameType : byte
{
    Data = 0,
    Headers = 1,
    Priority = 2,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// <summary>Frame flags; the numbers overlap between frame types.</summary>
internal static class FrameFlags
{
    public const byte EndStream = 0x1;
    public const byte Ack = 0x1;
    public const byte EndHeaders = 0x4;
    public const byte Padded = 0x8;
    public const byte Priority = 0x20;
}

/// <summary>Settings identifiers (RFC 9113 §6.5.2).</summary>
internal static class SettingId
{
    public const ushort HeaderTableSize = 1;
    public const ushort EnablePush = 2;
    public const ushort MaxConcurrentStreams = 3;
    public const ushort InitialWindowSize = 4;
    public const ushort MaxFrameSize = 5;
    public const ushort MaxHeaderListSize = 6;
}

/// <summary>Error codes of RST_STREAM and GOAWAY (RFC 9113 §7).</summary>
internal enum Http2ErrorCode : uint
{
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    SettingsTimeout = 4,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    ConnectError = 10,
    EnhanceYourCalm = 11,
    InadequateSecurity = 12,
    Http11Required = 13,
}

/// <summary>The peer broke the protocol; the whole connection ends with this code.</summary>
internal sealed class Http2ProtocolException(Http2ErrorCode code, string message) : Exception(message)
{
    public Http2ErrorCode Code { get; } = code;
}

/// <summary>One decoded header field.</summary>
internal readonly record struct HeaderField(string Name, string Value)
{
    /// <summary>The size HPACK and the header list limit count: both lengths in bytes plus 32.</summary>
    public long Size => System.Text.Encoding.UTF8.GetByteCount(Name) + System.Text.Encoding.UTF8.GetByteCount(Value) + 32L;
}
