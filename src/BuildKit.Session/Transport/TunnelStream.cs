using BuildKit.Oci;
using BuildKit.Protocol.Control;
using BuildKit.Protocol.Grpc;
using Google.Protobuf;

namespace BuildKit.Session.Transport;

/// <summary>
/// The byte stream inside <c>Control/Session</c>: messages are arbitrary slices of it, whose bounds mean
/// nothing (spec 01 §5.1). One reader and one writer at a time.
/// </summary>
internal sealed class TunnelStream(
    Func<CancellationToken, ValueTask<BytesMessage?>> receive,
    Func<BytesMessage, CancellationToken, ValueTask> send) : ForwardStream(FileAccess.ReadWrite)
{
    private const int SliceSize = 256 << 10;

    private readonly CancellationTokenSource _lifetime = new();
    private readonly TaskCompletionSource _disposed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private ReadOnlyMemory<byte> _rest;
    private bool _ended;

    /// <summary>Completes when this end has been closed.</summary>
    public Task Disposed => _disposed.Task;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty)
            return 0;
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _lifetime.Token);
        while (_rest.IsEmpty && !_ended)
        {
            try
            {
                if (await receive(both.Token) is { } message)
                    _rest = message.Data.Memory;
                else
                    _ended = true;
            }
            catch (RpcException e)
            {
                throw new IOException($"the session's stream broke: {e.Message}", e);
            }
        }

        var count = Math.Min(buffer.Length, _rest.Length);
        _rest[..count].CopyTo(buffer);
        _rest = _rest[count..];
        return count;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _lifetime.Token);
        try
        {
            for (; !buffer.IsEmpty; buffer = buffer[Math.Min(SliceSize, buffer.Length)..])
            {
                // Both kinds of call serialize the message before they return, so it need not own its bytes.
                var slice = UnsafeByteOperations.UnsafeWrap(buffer[..Math.Min(SliceSize, buffer.Length)]);
                await send(new BytesMessage { Data = slice }, both.Token);
            }
        }
        catch (RpcException e)
        {
            throw new IOException($"the session's stream broke: {e.Message}", e);
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (!disposing || _disposed.Task.IsCompleted)
            return;
        _lifetime.Cancel();
        _disposed.TrySetResult();
    }
}
