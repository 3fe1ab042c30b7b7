using BuildKit.Oci;
using BuildKit.Registry.Http;

namespace BuildKit.Registry.Transfer;

/// <summary>A body that ends its answer when disposed; a broken connection is a <see cref="RegistryTransportException"/>.</summary>
internal sealed class AnswerStream(Stream body, RegistryAnswer answer) : ForwardStream(FileAccess.Read)
{
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            return await body.ReadAsync(buffer, cancellationToken);
        }
        catch (Exception e) when (e is IOException or HttpRequestException && !cancellationToken.IsCancellationRequested)
        {
            throw new RegistryTransportException($"failed to read {answer.Url}: unexpected EOF", isTransient: true, e);
        }
    }

    public override int Read(Span<byte> buffer) => body.Read(buffer);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            body.Dispose();
            answer.Dispose();
        }
        base.Dispose(disposing);
    }
}

/// <summary>A stream that holds a transfer slot until disposed.</summary>
internal sealed class SlotStream(Stream body, IDisposable slot) : ForwardStream(FileAccess.Read)
{
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => body.ReadAsync(buffer, cancellationToken);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            body.Dispose();
            slot.Dispose();
        }
        base.Dispose(disposing);
    }
}

/// <summary>What a <see cref="ResumingStream"/> takes for a broken connection.</summary>
/// <param name="IsBroken">Whether reading may go on over a new connection after this error.</param>
/// <param name="Truncated">The error of a body that ended too early, from its text.</param>
/// <param name="Pause">Waits before the n-th new connection in a row; null for no wait.</param>
public sealed record ResumeRules(Func<Exception, bool> IsBroken, Func<string, Exception> Truncated, Func<int, CancellationToken, Task>? Pause = null);

/// <summary>
/// Reads a blob over as many connections as it takes: after a broken one it goes on at the same byte, and gives up after
/// three breaks without a byte in between (spec 07 §12.7). The bytes are not verified.
/// </summary>
/// <param name="open">Opens the blob at an offset; called at the first read. Its own errors are not repeated.</param>
/// <param name="offset">First byte wanted.</param>
/// <param name="size">Size of the whole blob in bytes; 0 or less when unknown.</param>
/// <param name="rules">What counts as broken.</param>
public sealed class ResumingStream(Func<long, CancellationToken, Task<Stream>> open, long offset, long size, ResumeRules rules) : ForwardStream(FileAccess.Read)
{
    private const int MostBreaks = 3;

    private Stream? _body;
    private long _position = offset;
    private int _breaks;

    /// <summary>Offset of the next byte in the blob.</summary>
    public override long Position
    {
        get => _position;
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty || (size > 0 && _position >= size && _body is null))
            return 0;
        while (true)
        {
            try
            {
                _body ??= await open(_position, cancellationToken);
                var count = await _body.ReadAsync(buffer, cancellationToken);
                if (count == 0 && _position < size)
                    throw rules.Truncated($"unexpected EOF at byte {_position} of {size}");
                if (count > 0)
                    _breaks = 0;
                _position += count;
                return count;
            }
            catch (Exception e) when (_body is not null && rules.IsBroken(e) && ++_breaks <= MostBreaks)
            {
                await _body.DisposeAsync();
                _body = null;
            }
            if (rules.Pause is not null)
                await rules.Pause(_breaks, cancellationToken);
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _body?.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>A request body read from a stream that counts what was sent.</summary>
internal sealed class StreamingContent(Func<CancellationToken, ValueTask<Stream>> open, long size, IProgress<long>? progress) : HttpContent
{
    protected override Task SerializeToStreamAsync(Stream stream, System.Net.TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, System.Net.TransportContext? context, CancellationToken cancellationToken)
    {
        await using var source = await open(cancellationToken);
        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(128 * 1024);
        try
        {
            var sent = 0L;
            for (int count; (count = await source.ReadAsync(buffer, cancellationToken)) > 0;)
            {
                if (sent + count > size)
                    throw new RegistryException($"unexpected size {sent + count}, expected {size}");
                await stream.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
                sent += count;
                progress?.Report(sent);
            }
            if (sent != size)
                throw new RegistryException($"unexpected size {sent}, expected {size}");
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = size;
        return true;
    }
}
