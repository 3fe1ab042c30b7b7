using System.Threading.Channels;
using BuildKit.Oci;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>
/// Reads its source on another thread, a few blocks ahead, so that decompressing and hashing overlap with what the
/// reader does. The source is read by one task, which ends before disposal does.
/// </summary>
internal sealed class ReadAheadStream : ForwardStream
{
    private const int BlockSize = 512 << 10;
    private const int BlocksAhead = 4;

    private readonly Channel<(byte[] Bytes, int Length)> _full = Channel.CreateBounded<(byte[], int)>(BlocksAhead);
    private readonly Channel<byte[]> _free = Channel.CreateUnbounded<byte[]>();
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reader;
    private byte[] _current = [];
    private int _offset;
    private int _length;

    internal ReadAheadStream(Stream source)
        : base(FileAccess.Read)
    {
        for (var i = 0; i < BlocksAhead; i++)
            _free.Writer.TryWrite(new byte[BlockSize]);
        _reader = Task.Run(() => FillAsync(source, _stop.Token), CancellationToken.None);
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _offset < _length ? ValueTask.FromResult(Take(buffer)) : ReadNextAsync(buffer, cancellationToken);

    /// <summary>Reads to the end of the source.</summary>
    internal async ValueTask DrainAsync(CancellationToken cancellationToken)
    {
        var buffer = new byte[4096];
        do
            _offset = _length;
        while (await ReadAsync(buffer, cancellationToken).ConfigureAwait(false) > 0);
    }

    public override async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _reader.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
        await base.DisposeAsync().ConfigureAwait(false);
    }

    private async ValueTask<int> ReadNextAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        if (_current.Length > 0)
            _free.Writer.TryWrite(_current);
        (_current, _offset, _length) = ([], 0, 0);
        if (!await _full.Reader.WaitToReadAsync(cancellationToken).ConfigureAwait(false) || !_full.Reader.TryRead(out var block))
            return 0;
        (_current, _length) = block;
        return Take(buffer);
    }

    private int Take(Memory<byte> buffer)
    {
        var count = Math.Min(buffer.Length, _length - _offset);
        _current.AsSpan(_offset, count).CopyTo(buffer.Span);
        _offset += count;
        return count;
    }

    private async Task FillAsync(Stream source, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                var block = await _free.Reader.ReadAsync(cancellationToken).ConfigureAwait(false);
                var length = await source.ReadAtLeastAsync(block, block.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
                if (length > 0)
                    await _full.Writer.WriteAsync((block, length), cancellationToken).ConfigureAwait(false);
                if (length < block.Length)
                    break;
            }
            _full.Writer.Complete();
        }
        catch (Exception e)
        {
            // Handed to the reader: its next read throws it.
            _full.Writer.Complete(e);
        }
    }
}
