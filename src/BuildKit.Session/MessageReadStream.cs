namespace BuildKit.Session;

/// <summary>A forward-only stream over the messages of a call.</summary>
/// <param name="next">The next piece; null at the end.</param>
/// <param name="dispose">Ends the call.</param>
internal sealed class MessageReadStream(Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>?>> next, Func<ValueTask> dispose) : Stream
{
    private ReadOnlyMemory<byte> _rest;
    private bool _ended;
    private bool _disposed;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (_rest.IsEmpty && !_ended && buffer.Length > 0)
        {
            if (await next(cancellationToken) is { } piece)
                _rest = piece;
            else
                _ended = true;
        }
        var length = Math.Min(buffer.Length, _rest.Length);
        _rest[..length].CopyTo(buffer);
        _rest = _rest[length..];
        return length;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("only asynchronous reading");

    public override async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await dispose();
        await base.DisposeAsync();
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
