namespace BuildKit.Oci;

/// <summary>
/// A stream that goes forward only, as a pipe, a connection or a decompressor does: it has no length, no position to set and
/// nothing to seek. What one reads or writes overrides <see cref="ReadAsync(Memory{byte}, CancellationToken)"/> or
/// <see cref="WriteAsync(ReadOnlyMemory{byte}, CancellationToken)"/>, and the calls on spans if it works without waiting too;
/// the forms that take arrays lead to these. Whatever is not overridden is a <see cref="NotSupportedException"/>.
/// </summary>
/// <param name="access">Whether it is read, written, or both.</param>
public abstract class ForwardStream(FileAccess access) : Stream
{
    /// <inheritdoc/>
    public sealed override bool CanRead => access.HasFlag(FileAccess.Read);

    /// <inheritdoc/>
    public sealed override bool CanSeek => false;

    /// <inheritdoc/>
    public sealed override bool CanWrite => access.HasFlag(FileAccess.Write);

    /// <inheritdoc/>
    public sealed override long Length => throw new NotSupportedException("the stream has no length: it only goes forward");

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException("the stream has no position: it only goes forward");
        set => throw new NotSupportedException("the stream only goes forward");
    }

    /// <inheritdoc/>
    public sealed override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer) => throw new NotSupportedException(CanRead ? "the stream is read asynchronously" : "the stream is only written");

    /// <inheritdoc/>
    public sealed override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException("the stream is only written");

    /// <inheritdoc/>
    public sealed override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer) => throw new NotSupportedException(CanWrite ? "the stream is written asynchronously" : "the stream is only read");

    /// <inheritdoc/>
    public sealed override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        throw new NotSupportedException("the stream is only read");

    /// <summary>Hands on what was kept back: here nothing is.</summary>
    public override void Flush()
    {
    }

    /// <summary>Hands on what was kept back: here nothing is.</summary>
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <inheritdoc/>
    public sealed override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException("the stream only goes forward");

    /// <inheritdoc/>
    public sealed override void SetLength(long value) => throw new NotSupportedException("the stream has no length: it only goes forward");
}
