using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using BuildKit.Protocol.Grpc;

namespace BuildKit.Protocol.Http2;

/// <content>Sending: frames are appended under the gate and written by whoever comes first.</content>
public sealed partial class Http2Connection
{
    // Senders of data wait above the first; a peer that makes us answer without reading is cut off at the second.
    private const int SendBufferLimit = 512 << 10;
    private const int ControlBufferLimit = 8 << 20;

    private readonly HpackEncoder _encoder = new();
    private readonly ArrayBufferWriter<byte> _headerBlock = new(512);
    private readonly HashSet<Http2Stream> _blocked = [];

    private ArrayBufferWriter<byte> _pending = new(16 << 10);
    private ArrayBufferWriter<byte> _spare = new(16 << 10);
    private bool _isWriting;
    private Task _writing = Task.CompletedTask;
    private long _sendWindow = DefaultWindow;
    private long _peerInitialWindow = DefaultWindow;
    private int _peerMaxFrame = 16384;
    private long _peerMaxStreams = 100;
    private long _peerMaxHeaderList = long.MaxValue;

    /// <summary>Sends bytes of a call as flow control allows, and the end of our side if asked to.</summary>
    internal async ValueTask SendDataAsync(
        Http2Stream stream, ReadOnlyMemory<byte> bytes, bool end, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task? retry = null;
            lock (_gate)
            {
                if (stream.Ended)
                    throw EndedWhileSending(stream);
                if (stream.LocalEnded)
                    throw new InvalidOperationException("the call's sending side is already complete");
                if (stream.Id == 0)
                {
                    retry = stream.Retry();
                }
                else
                {
                    bytes = WriteData(stream, bytes, end, out var done);
                    if (!done)
                    {
                        retry = stream.Retry();
                        _blocked.Add(stream);
                    }
                }
            }

            Kick();
            if (retry is null)
                return;
            await retry.WaitAsync(cancellationToken);
        }
    }

    private static Exception EndedWhileSending(Http2Stream stream) => stream.Error switch
    {
        RpcException rpc => new RpcException(rpc.Code, rpc.Message, rpc.Details, rpc),
        OperationCanceledException cancelled => new OperationCanceledException(
            cancelled.Message, cancelled, cancelled.CancellationToken),
        _ => new RpcException(StatusCode.OK, "the peer has already ended the call"),
    };

    private ReadOnlyMemory<byte> WriteData(Http2Stream stream, ReadOnlyMemory<byte> bytes, bool end, out bool done)
    {
        while (true)
        {
            var allowed = Math.Min(Math.Min(stream.SendWindow, _sendWindow), _peerMaxFrame);
            if ((allowed <= 0 && !bytes.IsEmpty) || _pending.WrittenCount >= SendBufferLimit)
            {
                done = false;
                return bytes;
            }

            var count = (int)Math.Min(allowed < 0 ? 0 : allowed, bytes.Length);
            var last = count == bytes.Length;
            WriteFrameHeader(FrameType.Data, last && end ? FrameFlags.EndStream : (byte)0, stream.Id, count);
            _pending.Write(bytes.Span[..count]);
            stream.SendWindow -= count;
            _sendWindow -= count;
            bytes = bytes[count..];
            if (!last)
                continue;
            stream.LocalEnded |= end;
            done = true;
            return bytes;
        }
    }

    private void WritePreface()
    {
        _pending.Write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8);
        WriteFrameHeader(FrameType.Settings, 0, 0, 4 * 6);
        WriteSetting(SettingId.EnablePush, 0);
        WriteSetting(SettingId.InitialWindowSize, (uint)_options.StreamWindow);
        WriteSetting(SettingId.MaxFrameSize, ReceiveFrameSize);
        WriteSetting(SettingId.MaxHeaderListSize, (uint)_options.MaxHeaderListSize);
        if (_options.ConnectionWindow > DefaultWindow)
            WriteWindowUpdate(0, _options.ConnectionWindow - DefaultWindow);
        _receiveWindow = Math.Max(DefaultWindow, _options.ConnectionWindow);
    }

    private void WriteHeaders(Http2Stream stream)
    {
        _headerBlock.ResetWrittenCount();
        _encoder.Begin(_headerBlock);
        foreach (var (name, value) in stream.RequestHeaders)
            _encoder.Field(_headerBlock, name, value, index: Repeats(name));
        var block = _headerBlock.WrittenSpan;
        var type = FrameType.Headers;
        do
        {
            var count = Math.Min(block.Length, _peerMaxFrame);
            WriteFrameHeader(type, count == block.Length ? FrameFlags.EndHeaders : (byte)0, stream.Id, count);
            _pending.Write(block[..count]);
            block = block[count..];
            type = FrameType.Continuation;
        }
        while (!block.IsEmpty);
    }

    private static bool Repeats(string name) =>
        name is ":path" or ":authority" or "content-type" or "te" or "user-agent" or "grpc-accept-encoding"
            or "buildkit-controlapi-buildid";

    private void WriteSettingsAck() => WriteFrameHeader(FrameType.Settings, FrameFlags.Ack, 0, 0);

    private void WritePingAck(ReadOnlySpan<byte> payload)
    {
        WriteFrameHeader(FrameType.Ping, FrameFlags.Ack, 0, payload.Length);
        _pending.Write(payload);
    }

    private void WriteReset(int streamId, Http2ErrorCode code)
    {
        WriteFrameHeader(FrameType.RstStream, 0, streamId, 4);
        WriteUInt32((uint)code);
    }

    private void WriteWindowUpdate(int streamId, long increment)
    {
        WriteFrameHeader(FrameType.WindowUpdate, 0, streamId, 4);
        WriteUInt32((uint)increment);
    }

    private void WriteGoAway(Http2ErrorCode code, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        WriteFrameHeader(FrameType.GoAway, 0, 0, 8 + bytes.Length);
        WriteUInt32(0);
        WriteUInt32((uint)code);
        _pending.Write(bytes);
    }

    private void WriteSetting(ushort id, uint value)
    {
        BinaryPrimitives.WriteUInt16BigEndian(_pending.GetSpan(2), id);
        _pending.Advance(2);
        WriteUInt32(value);
    }

    private void WriteUInt32(uint value)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_pending.GetSpan(4), value);
        _pending.Advance(4);
    }

    private void WriteFrameHeader(FrameType type, byte flags, int streamId, int length)
    {
        var span = _pending.GetSpan(9);
        span[0] = (byte)(length >> 16);
        span[1] = (byte)(length >> 8);
        span[2] = (byte)length;
        span[3] = (byte)type;
        span[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(span[5..], streamId);
        _pending.Advance(9);
    }

    /// <summary>Sees to it that somebody writes what is pending. Never called under the gate.</summary>
    private void Kick()
    {
        lock (_gate)
        {
            if (_isWriting || _pending.WrittenCount == 0 || _failure is not null)
                return;
            _isWriting = true;
        }

        var writing = WriteLoopAsync();
        if (!writing.IsCompleted)
            lock (_gate)
                _writing = writing;
    }

    private async Task WriteLoopAsync()
    {
        try
        {
            while (true)
            {
                ArrayBufferWriter<byte> full;
                lock (_gate)
                {
                    if (_pending.WrittenCount == 0 || _failure is not null)
                    {
                        _isWriting = false;
                        return;
                    }

                    full = _pending;
                    _pending = _spare;
                    _spare = full;
                }

                await _transport.WriteAsync(full.WrittenMemory, _lifetime.Token);
                await _transport.FlushAsync(_lifetime.Token);
                lock (_gate)
                {
                    full.ResetWrittenCount();
                    WakeBlocked();
                }
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException or RpcException
            or InvalidOperationException)
        {
            Fail(new RpcException(StatusCode.Unavailable, $"error writing to the peer: {e.Message}", e));
        }
    }

    private void WakeBlocked()
    {
        if (_blocked.Count == 0)
            return;
        foreach (var stream in _blocked)
            stream.Wake();
        _blocked.Clear();
    }
}
