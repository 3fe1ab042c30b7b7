using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Http2;

/// <content>Receiving: one loop that takes frame after frame and never waits for anything but bytes.</content>
public sealed partial class Http2Connection
{
    private const int FrameHeaderLength = 9;
    private const int MaxContinuations = 4096;

    private readonly HpackDecoder _decoder;

    private long _receiveWindow;
    private long _receiveCredit;
    private MemoryStream? _openBlock;
    private int _openBlockStream;
    private byte _openBlockFlags;
    private int _continuations;

    private async Task ReadLoopAsync()
    {
        var reader = PipeReader.Create(_transport, new StreamPipeReaderOptions(bufferSize: 64 << 10, leaveOpen: true));
        RpcException end;
        try
        {
            while (true)
            {
                var read = await reader.ReadAsync(_lifetime.Token);
                var buffer = read.Buffer;
                while (TryReadFrame(ref buffer, out var type, out var flags, out var streamId, out var payload))
                    OnFrame(type, flags, streamId, payload);
                reader.AdvanceTo(buffer.Start, buffer.End);
                Kick();
                if (!read.IsCompleted)
                    continue;
                end = new RpcException(StatusCode.Unavailable, "the peer closed the connection");
                break;
            }
        }
        catch (Http2ProtocolException e)
        {
            lock (_gate)
                WriteGoAway(e.Code, e.Message);
            Kick();
            end = new RpcException(StatusCode.Unavailable, $"the peer broke the HTTP/2 protocol: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException or RpcException
            or InvalidOperationException)
        {
            end = new RpcException(StatusCode.Unavailable, $"error reading from the peer: {e.Message}", e);
        }

        Fail(end);
        await reader.CompleteAsync();
    }

    private static bool TryReadFrame(
        ref ReadOnlySequence<byte> buffer, out FrameType type, out byte flags, out int streamId, out ReadOnlySequence<byte> payload)
    {
        type = default;
        flags = 0;
        streamId = 0;
        payload = default;
        if (buffer.Length < FrameHeaderLength)
            return false;
        Span<byte> header = stackalloc byte[FrameHeaderLength];
        buffer.Slice(0, FrameHeaderLength).CopyTo(header);
        var length = (header[0] << 16) | (header[1] << 8) | header[2];
        if (length > ReceiveFrameSize)
            throw new Http2ProtocolException(
                Http2ErrorCode.FrameSizeError, $"frame of {length} bytes, at most {ReceiveFrameSize} are allowed");
        if (buffer.Length < FrameHeaderLength + length)
            return false;
        type = (FrameType)header[3];
        flags = header[4];
        streamId = (int)(BinaryPrimitives.ReadUInt32BigEndian(header[5..]) & 0x7fffffff);
        payload = buffer.Slice(FrameHeaderLength, length);
        buffer = buffer.Slice(FrameHeaderLength + length);
        return true;
    }

    private void OnFrame(FrameType type, byte flags, int streamId, ReadOnlySequence<byte> payload)
    {
        lock (_gate)
        {
            if (_openBlock is not null && (type != FrameType.Continuation || streamId != _openBlockStream))
                throw Broken("a header block is interrupted by another frame");
            switch (type)
            {
                case FrameType.Data:
                    OnData(flags, streamId, payload);
                    break;
                case FrameType.Headers:
                    OnHeaders(flags, streamId, payload);
                    break;
                case FrameType.Continuation:
                    OnContinuation(flags, payload);
                    break;
                case FrameType.RstStream:
                    OnReset(streamId, payload);
                    break;
                case FrameType.Settings:
                    OnSettings(flags, streamId, payload);
                    break;
                case FrameType.PushPromise:
                    throw Broken("PUSH_PROMISE although push is disabled");
                case FrameType.Ping:
                    OnPing(flags, streamId, payload);
                    break;
                case FrameType.GoAway:
                    OnGoAway(payload);
                    break;
                case FrameType.WindowUpdate:
                    OnWindowUpdate(streamId, payload);
                    break;
                default:
                    // PRIORITY says nothing to a client; frames of unknown types are to be ignored.
                    break;
            }

            if (_pending.WrittenCount > ControlBufferLimit)
                throw new Http2ProtocolException(Http2ErrorCode.EnhanceYourCalm, "too many frames to answer");
        }
    }

    private void OnData(byte flags, int streamId, ReadOnlySequence<byte> payload)
    {
        var total = payload.Length;
        _receiveWindow -= total;
        if (_receiveWindow < 0)
            throw new Http2ProtocolException(Http2ErrorCode.FlowControlError, "more data than the connection's window");
        // The connection's window follows receipt, the stream's follows the reader: a call that is not read
        // must not stop the others, and its own window bounds what it can pile up.
        _receiveCredit += total;
        if (_receiveCredit >= Math.Max(DefaultWindow, _options.ConnectionWindow) / 4)
        {
            _receiveWindow += _receiveCredit;
            WriteWindowUpdate(0, _receiveCredit);
            _receiveCredit = 0;
        }

        payload = WithoutPadding(flags, payload);
        if (Find(streamId) is not { } stream)
            return;
        if (!stream.HeadersSeen)
        {
            WriteReset(streamId, Http2ErrorCode.ProtocolError);
            stream.LocalEnded = true;
            EndStream(stream, new RpcException(StatusCode.Internal, "the peer sent data before headers"), trailers: null);
            return;
        }

        stream.ReceiveWindow -= total;
        if (stream.ReceiveWindow < 0)
            throw new Http2ProtocolException(Http2ErrorCode.FlowControlError, "more data than the stream's window");
        foreach (var segment in payload)
            stream.OnData(segment.Span);
        stream.PendingCredit += total - payload.Length;
        if ((flags & FrameFlags.EndStream) != 0)
            EndStream(
                stream,
                new RpcException(StatusCode.Internal, "server closed the stream without sending trailers"),
                trailers: null);
    }

    private void OnHeaders(byte flags, int streamId, ReadOnlySequence<byte> payload)
    {
        if (streamId == 0 || (streamId & 1) == 0 || streamId >= _nextStreamId)
            throw Broken($"HEADERS on stream {streamId}, which was never opened");
        payload = WithoutPadding(flags, payload);
        if ((flags & FrameFlags.Priority) != 0)
        {
            if (payload.Length < 5)
                throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "HEADERS too short for its priority");
            payload = payload.Slice(5);
        }

        _openBlock = new MemoryStream((int)payload.Length);
        _openBlockStream = streamId;
        _openBlockFlags = flags;
        _continuations = 0;
        AppendBlock(flags, payload);
    }

    private void OnContinuation(byte flags, ReadOnlySequence<byte> payload)
    {
        if (_openBlock is null)
            throw Broken("CONTINUATION without HEADERS");
        if (++_continuations > MaxContinuations)
            throw new Http2ProtocolException(Http2ErrorCode.EnhanceYourCalm, "too many CONTINUATION frames");
        AppendBlock(flags, payload);
    }

    private void AppendBlock(byte flags, ReadOnlySequence<byte> payload)
    {
        foreach (var segment in payload)
            _openBlock!.Write(segment.Span);
        if (_openBlock!.Length > _options.MaxHeaderListSize)
            throw new Http2ProtocolException(
                Http2ErrorCode.EnhanceYourCalm, $"header block is larger than {_options.MaxHeaderListSize} bytes");
        if ((flags & FrameFlags.EndHeaders) == 0)
            return;
        var fields = _decoder.Decode(_openBlock.GetBuffer().AsSpan(0, (int)_openBlock.Length));
        _openBlock = null;
        OnHeaderList(_openBlockStream, fields, (_openBlockFlags & FrameFlags.EndStream) != 0);
    }

    private void OnHeaderList(int streamId, List<HeaderField> fields, bool end)
    {
        if (Find(streamId) is not { } stream)
            return;
        var metadata = new Metadata();
        var status = 0;
        foreach (var (name, value) in fields)
        {
            if (!name.StartsWith(':'))
                metadata.Add(name, value);
            else if (string.Equals(name, ":status", StringComparison.Ordinal))
                _ = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out status);
        }

        if (!end)
        {
            if (status is >= 100 and < 200)
                return;
            if (stream.HeadersSeen)
                EndWith(stream, new RpcException(StatusCode.Internal, "the peer sent trailers that do not end the call"));
            else if (status != 200)
                EndWith(stream, OfHttpStatus(status));
            else
                stream.OnHeaders(metadata);
            return;
        }

        var error = !stream.HeadersSeen && status != 200 && metadata.Get(GrpcStatus.StatusKey) is null
            ? OfHttpStatus(status)
            : GrpcStatus.Read(metadata);
        EndStream(stream, error, metadata);
    }

    private void EndWith(Http2Stream stream, RpcException error)
    {
        WriteReset(stream.Id, Http2ErrorCode.Cancel);
        stream.LocalEnded = true;
        EndStream(stream, error, trailers: null);
    }

    private static RpcException OfHttpStatus(int status) => new(
        status switch
        {
            400 => StatusCode.Internal,
            401 => StatusCode.Unauthenticated,
            403 => StatusCode.PermissionDenied,
            404 => StatusCode.Unimplemented,
            429 or 502 or 503 or 504 => StatusCode.Unavailable,
            _ => StatusCode.Unknown,
        },
        $"unexpected HTTP status code received from server: {status}");

    private void OnReset(int streamId, ReadOnlySequence<byte> payload)
    {
        if (payload.Length != 4)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "RST_STREAM is not 4 bytes long");
        var code = (Http2ErrorCode)ReadUInt32(payload);
        if (Find(streamId) is not { } stream)
            return;
        stream.LocalEnded = true;
        EndStream(
            stream,
            new RpcException(
                code switch
                {
                    Http2ErrorCode.RefusedStream => StatusCode.Unavailable,
                    Http2ErrorCode.Cancel => StatusCode.Cancelled,
                    Http2ErrorCode.EnhanceYourCalm => StatusCode.ResourceExhausted,
                    Http2ErrorCode.InadequateSecurity => StatusCode.PermissionDenied,
                    _ => StatusCode.Internal,
                },
                $"stream terminated by RST_STREAM with error code: {code}"),
            trailers: null);
    }

    private void OnSettings(byte flags, int streamId, ReadOnlySequence<byte> payload)
    {
        if (streamId != 0)
            throw Broken("SETTINGS on a stream");
        if ((flags & FrameFlags.Ack) != 0)
            return;
        if (payload.Length % 6 != 0)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "SETTINGS is not a multiple of 6 bytes");
        var bytes = payload.ToArray().AsSpan();
        for (; bytes.Length >= 6; bytes = bytes[6..])
            Apply(BinaryPrimitives.ReadUInt16BigEndian(bytes), BinaryPrimitives.ReadUInt32BigEndian(bytes[2..]));
        WriteSettingsAck();
        WakeBlocked();
        StartWaiting();
    }

    private void Apply(ushort id, uint value)
    {
        switch (id)
        {
            case SettingId.HeaderTableSize:
                _encoder.SetPeerTableSize(value);
                break;
            case SettingId.MaxConcurrentStreams:
                _peerMaxStreams = value;
                break;
            case SettingId.InitialWindowSize:
                if (value > int.MaxValue)
                    throw new Http2ProtocolException(Http2ErrorCode.FlowControlError, "initial window is too large");
                foreach (var stream in _streams.Values)
                {
                    stream.SendWindow += value - _peerInitialWindow;
                    stream.Wake();
                }

                _peerInitialWindow = value;
                break;
            case SettingId.MaxFrameSize:
                if (value is < 16384 or > 16777215)
                    throw Broken($"maximum frame size {value} is out of range");
                _peerMaxFrame = (int)Math.Min(value, 256 << 10);
                break;
            case SettingId.MaxHeaderListSize:
                _peerMaxHeaderList = value;
                break;
            default:
                break;
        }
    }

    private void OnPing(byte flags, int streamId, ReadOnlySequence<byte> payload)
    {
        if (payload.Length != 8 || streamId != 0)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "PING is not 8 bytes long");
        if ((flags & FrameFlags.Ack) != 0)
            return;
        Span<byte> opaque = stackalloc byte[8];
        payload.CopyTo(opaque);
        WritePingAck(opaque);
    }

    private void OnGoAway(ReadOnlySequence<byte> payload)
    {
        if (payload.Length < 8)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "GOAWAY is shorter than 8 bytes");
        _draining = true;
        var last = ReadUInt32(payload) & 0x7fffffff;
        var code = (Http2ErrorCode)ReadUInt32(payload.Slice(4));
        var text = Encoding.UTF8.GetString(payload.Slice(8));
        var error = new RpcException(StatusCode.Unavailable, $"the peer is going away: {code}{(text.Length > 0 ? ": " : "")}{text}");
        foreach (var stream in _streams.Values.Where(s => (uint)s.Id > last).ToArray())
        {
            stream.LocalEnded = true;
            EndStream(stream, error, trailers: null);
        }

        foreach (var stream in _waiting)
            stream.End(error, trailers: null);
        _waiting.Clear();
        CloseWhenDrained();
    }

    private void OnWindowUpdate(int streamId, ReadOnlySequence<byte> payload)
    {
        if (payload.Length != 4)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "WINDOW_UPDATE is not 4 bytes long");
        var increment = ReadUInt32(payload) & 0x7fffffff;
        if (streamId == 0)
        {
            _sendWindow += increment;
            if (increment == 0 || _sendWindow > int.MaxValue)
                throw new Http2ProtocolException(Http2ErrorCode.FlowControlError, "connection window out of range");
            WakeBlocked();
            return;
        }

        if (Find(streamId) is not { } stream)
            return;
        stream.SendWindow += increment;
        if (increment == 0 || stream.SendWindow > int.MaxValue)
        {
            WriteReset(streamId, Http2ErrorCode.FlowControlError);
            stream.LocalEnded = true;
            EndStream(stream, new RpcException(StatusCode.Internal, "the peer's stream window is out of range"), trailers: null);
            return;
        }

        stream.Wake();
    }

    private Http2Stream? Find(int streamId)
    {
        if (streamId == 0 || (streamId & 1) == 0 || streamId >= _nextStreamId)
            throw Broken($"frame on stream {streamId}, which was never opened");
        return _streams.GetValueOrDefault(streamId);
    }

    private static ReadOnlySequence<byte> WithoutPadding(byte flags, ReadOnlySequence<byte> payload)
    {
        if ((flags & FrameFlags.Padded) == 0)
            return payload;
        if (payload.IsEmpty)
            throw new Http2ProtocolException(Http2ErrorCode.FrameSizeError, "padded frame without padding length");
        var padding = payload.FirstSpan.IsEmpty ? payload.Slice(0, 1).ToArray()[0] : payload.FirstSpan[0];
        if (padding > payload.Length - 1)
            throw Broken("padding exceeds its frame");
        return payload.Slice(1, payload.Length - 1 - padding);
    }

    private static uint ReadUInt32(ReadOnlySequence<byte> payload)
    {
        Span<byte> bytes = stackalloc byte[4];
        payload.Slice(0, 4).CopyTo(bytes);
        return BinaryPrimitives.ReadUInt32BigEndian(bytes);
    }

    private static Http2ProtocolException Broken(string what) => new(Http2ErrorCode.ProtocolError, what);
}
