using System.Buffers.Binary;
using System.IO.Compression;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>
/// gzip on all cores: blocks of fixed size are deflated independently, each ending on a byte boundary, and joined
/// into one member. The bytes depend on content and level only, not on the number of cores.
/// </summary>
internal sealed class ParallelGzip : IAsyncDisposable
{
    private readonly HashingSink _sink;
    private readonly GzipBlocks _blocks;
    private readonly ZLibCompressionOptions _options;
    private readonly byte _extraFlags;
    private readonly Queue<Task<Deflated>> _running = new();
    private readonly List<long> _memberOffsets = [];
    private GzipBlock? _current;
    private uint _crc;
    private long _memberSize;
    private bool _memberOpen;
    private bool _memberStarted;

    /// <param name="sink">Gets the compressed bytes in order.</param>
    /// <param name="blocks">What blocks are taken from.</param>
    /// <param name="level">-2 (Huffman only), -1 (default) or 0..9, as Go numbers levels.</param>
    /// <exception cref="ArgumentException"><c>gzip: invalid compression level: n</c>.</exception>
    internal ParallelGzip(HashingSink sink, GzipBlocks blocks, int level)
    {
        if (level is < -2 or > 9)
            throw new ArgumentException($"gzip: invalid compression level: {level}", nameof(level));
        _sink = sink;
        _blocks = blocks;
        _extraFlags = level switch { 9 => 2, 1 => 4, _ => 0 };
        _options = new ZLibCompressionOptions
        {
            CompressionLevel = level < 0 ? 6 : level,
            CompressionStrategy = level == -2 ? ZLibCompressionStrategy.HuffmanOnly : ZLibCompressionStrategy.Default,
        };
        _blocks.Enter();
    }

    /// <summary>Where each member begun so far starts in the output; complete after <see cref="FlushAsync"/>.</summary>
    internal IReadOnlyList<long> MemberOffsets => _memberOffsets;

    internal async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            _memberStarted = true;
            if (_current?.Length == GzipBlock.Size)
                await StartBlockAsync(cancellationToken).ConfigureAwait(false);
            _current ??= await RentBlockAsync(cancellationToken).ConfigureAwait(false);
            var count = Math.Min(bytes.Length, GzipBlock.Size - _current.Length);
            bytes.Span[..count].CopyTo(_current.Source.AsSpan(_current.Length));
            _current.Length += count;
            bytes = bytes[count..];
        }
    }

    /// <summary>Index the member of the next byte written will have in <see cref="MemberOffsets"/>, right after <see cref="EndMemberAsync"/>.</summary>
    internal int NextMember { get; private set; }

    /// <summary>Ends the current member; the next byte written starts another. An empty one is written only when asked for.</summary>
    internal async ValueTask EndMemberAsync(bool evenIfEmpty, CancellationToken cancellationToken)
    {
        if (!_memberStarted && !evenIfEmpty)
            return;
        if (_current is not null)
            await StartBlockAsync(cancellationToken).ConfigureAwait(false);
        _running.Enqueue(Task.FromResult(default(Deflated)));
        _memberStarted = false;
        NextMember++;
    }

    /// <summary>Writes every byte and ended member to the sink.</summary>
    internal async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (_current is not null)
            await StartBlockAsync(cancellationToken).ConfigureAwait(false);
        while (_running.Count > 0)
            await WriteOldestAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Gives back what a failure left.</summary>
    public async ValueTask DisposeAsync()
    {
        while (_running.TryDequeue(out var deflating))
        {
            if ((await deflating.ConfigureAwait(false)).Block is { } block)
                _blocks.Return(block);
        }
        if (_current is not null)
            _blocks.Return(_current);
        _current = null;
        _blocks.Leave();
    }

    /// <summary>A block to fill. When all are taken, blocks of this layer are written and used again, so that no layer that has
    /// one waits for another layer.</summary>
    private async ValueTask<GzipBlock> RentBlockAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            if (_blocks.TryRent() is { } block)
                return block;
            if (_running.Count == 0)
                return await _blocks.RentAsync(cancellationToken).ConfigureAwait(false);
            await WriteOldestAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask StartBlockAsync(CancellationToken cancellationToken)
    {
        var block = _current!;
        _current = null;
        _running.Enqueue(Task.Run(() => Deflate(block), CancellationToken.None));
        while (_running.TryPeek(out var oldest) && oldest.IsCompletedSuccessfully)
            await WriteOldestAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask WriteOldestAsync(CancellationToken cancellationToken)
    {
        var deflated = await _running.Peek().ConfigureAwait(false);
        await OpenMemberAsync(cancellationToken).ConfigureAwait(false);
        if (deflated.Block is { } block)
        {
            await _sink.WriteAsync(deflated.Bytes, cancellationToken).ConfigureAwait(false);
            _crc = Crc32.Combine(_crc, deflated.Crc, block.Length);
            _memberSize += block.Length;
            _ = _running.Dequeue();
            _blocks.Return(block);
            return;
        }
        // The end of a member: a last, empty block, then CRC and size.
        var end = new byte[10];
        end[0] = 3;
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(2), _crc);
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(6), (uint)_memberSize);
        await _sink.WriteAsync(end, cancellationToken).ConfigureAwait(false);
        _ = _running.Dequeue();
        _memberOpen = false;
        _crc = 0;
        _memberSize = 0;
    }

    private async ValueTask OpenMemberAsync(CancellationToken cancellationToken)
    {
        if (_memberOpen)
            return;
        _memberOpen = true;
        _memberOffsets.Add(_sink.Count);
        await _sink.WriteAsync(new byte[] { 0x1F, 0x8B, 8, 0, 0, 0, 0, 0, _extraFlags, 0xFF }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Lets the platform's gzip do block and CRC: header (10 bytes), data up to the flush mark, [end block, CRC, size].</summary>
    private Deflated Deflate(GzipBlock block)
    {
        const int Header = 10, Trailer = 8;
        var output = block.Output;
        output.SetLength(0);
        int flushed;
        using (var gzip = new GZipStream(output, _options, leaveOpen: true))
        {
            gzip.Write(block.Source, 0, block.Length);
            gzip.Flush();
            flushed = (int)output.Length;
        }
        var all = output.GetBuffer().AsMemory(0, (int)output.Length);
        var crc = BinaryPrimitives.ReadUInt32LittleEndian(all.Span[^Trailer..]);
        return new Deflated(block, all[Header..flushed], crc);
    }

    /// <summary>A compressed block; without one, the end of a member.</summary>
    private readonly record struct Deflated(GzipBlock? Block, ReadOnlyMemory<byte> Bytes, uint Crc);
}

/// <summary>The CRC of two joined pieces from the CRCs of each.</summary>
internal static class Crc32
{
    private const uint Polynomial = 0xEDB88320;

    /// <summary>CRC of A followed by B.</summary>
    internal static uint Combine(uint a, uint b, long lengthOfB) => Multiply(ShiftOperator(lengthOfB), a) ^ b;

    /// <summary>x^(8·length) modulo the polynomial, bits reflected.</summary>
    private static uint ShiftOperator(long length)
    {
        var power = 1u << 23; // x^8
        var result = 1u << 31; // 1
        for (; length != 0; length >>= 1)
        {
            if ((length & 1) != 0)
                result = Multiply(power, result);
            power = Multiply(power, power);
        }
        return result;
    }

    private static uint Multiply(uint a, uint b)
    {
        uint product = 0;
        for (var bit = 1u << 31; bit != 0; bit >>= 1)
        {
            if ((a & bit) != 0)
                product ^= b;
            b = (b & 1) != 0 ? (b >> 1) ^ Polynomial : b >> 1;
        }
        return product;
    }
}
