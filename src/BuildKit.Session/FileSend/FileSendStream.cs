using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Session.FileSync;

namespace BuildKit.Session.FileSend;

/// <summary>
/// Writes into a client's file; messages stay far below the client's limit of 4 MiB. Writing fails with the
/// client's <see cref="RpcException"/>, <see cref="StatusCode.AlreadyExists"/> when it does not want the bytes.
/// </summary>
public sealed class FileSendStream : ForwardStream
{
    private const int BufferSize = 64 << 10;
    private const int MaxMessage = 3 << 20;

    private readonly IGrpcCall<FileSyncMessage, FileSyncMessage> _call;
    private readonly byte[] _buffer = new byte[BufferSize];
    private int _buffered;

    internal FileSendStream(IGrpcCall<FileSyncMessage, FileSyncMessage> call)
        : base(FileAccess.Write) => _call = call;

    /// <inheritdoc/>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.Length <= _buffer.Length - _buffered)
        {
            buffer.CopyTo(_buffer.AsMemory(_buffered));
            _buffered += buffer.Length;
            return;
        }
        await FlushAsync(cancellationToken);
        for (; buffer.Length > BufferSize; buffer = buffer[Math.Min(buffer.Length, MaxMessage)..])
            await SendAsync(buffer[..Math.Min(buffer.Length, MaxMessage)], cancellationToken);
        buffer.CopyTo(_buffer);
        _buffered = buffer.Length;
    }

    /// <summary>Sends what is buffered.</summary>
    public override async Task FlushAsync(CancellationToken cancellationToken)
    {
        if (_buffered == 0)
            return;
        await SendAsync(_buffer.AsMemory(0, _buffered), cancellationToken);
        _buffered = 0;
    }

    /// <summary>Ends the file and waits until the client has it.</summary>
    public async Task CompleteAsync(CancellationToken cancellationToken)
    {
        await FlushAsync(cancellationToken);
        await _call.CompleteAsync(cancellationToken);
        while (await _call.ReadAsync(cancellationToken) is not null)
        {
        }
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync() => _call.DisposeAsync();

    /// <inheritdoc/>
    public override void Flush() => throw new NotSupportedException("only asynchronous writing");

    private ValueTask SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        _call.SendAsync(FileSyncMessage.ForBytes(bytes), cancellationToken);
}
