using BuildKit.Oci;

namespace BuildKit.Session;

/// <summary>A forward-only stream over the messages of a call.</summary>
/// <param name="next">The next piece; null at the end.</param>
/// <param name="dispose">Ends the call.</param>
internal sealed class MessageReadStream(Func<CancellationToken, ValueTask<ReadOnlyMemory<byte>?>> next, Func<ValueTask> dispose) : ForwardStream(FileAccess.Read)
{
    private ReadOnlyMemory<byte> _rest;
    private bool _ended;
    private bool _disposed;

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

    public override async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await dispose();
        await base.DisposeAsync();
    }
}
