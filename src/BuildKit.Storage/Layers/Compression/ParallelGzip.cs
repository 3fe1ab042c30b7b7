using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Compression;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>
/// gzip on all cores: blocks of fixed size are deflated independently, each ending on a byte boundary, and joined
/// into one member. The bytes depend on content and level only, not on the number of cores.
/// </summary>
internal sealed class ParallelGzip
{
    /// <summary>Uncompressed bytes of a block: large enough to cost no ratio, small enough to spread.</summary>
    internal const int BlockSize = 1 << 20;

    private readonly HashingSink _sink;
    private readonly ZLibCompressionOptions _options;
    private readonly byte _extraFlags;
    private readonly int _parallel = Math.Max(2, Environment.ProcessorCount);
    private readonly Queue<Task<Block>> _running = new();
    private readonly Stack<byte[]> _free = new();
    private readonly ConcurrentBag<MemoryStream> _outputs = [];
    private readonly List<long> _memberOffsets = [];
    private byte[] _current = [];
    private int _length;
    private uint _crc;
    private long _memberSize;
    private bool _memberOpen;
    private bool _memberStarted;

    /// <param name="sink">Gets the compressed bytes in order.</param>
    /// <param name="level">-2 (Huffman only), -1 (default) or 0..9, as Go numbers levels.</param>
    /// <exception cref="ArgumentException"><c>gzip: invalid compression level: n</c>.</exception>
    internal ParallelGzip(HashingSink sink, int level)
    {
        if (level is < -2 or > 9)
            throw new ArgumentException($"gzip: invalid compression level: {level}", nameof(level));
        _sink = sink;
        _extraFlags = level switch { 9 => 2, 1 => 4, _ => 0 };
        _options = new ZLibCompressionOptions
        {
            CompressionLevel = level < 0 ? 6 : level,
            CompressionStrategy = level == -2 ? ZLibCompressionStrategy.HuffmanOnly : ZLibCompressionStrategy.Default,
        };
    }

    /// <summary>Where each member begun so far starts in the output; complete after <see cref="FlushAsync"/>.</summary>
    internal IReadOnlyList<long> MemberOffsets => _memberOffsets;

    internal async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            _memberStarted = true;
            if (_length == BlockSize)
                await StartBlockAsync(cancellationToken).ConfigureAwait(false);
            if (_current.Length == 0)
                _current = _free.TryPop(out var free) ? free : new byte[BlockSize];
            var count = Math.Min(bytes.Length, BlockSize - _length);
            bytes.Span[..count].CopyTo(_current.AsSpan(_length));
            _length += count;
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
        if (_length > 0)
            await StartBlockAsync(cancellationToken).ConfigureAwait(false);
        _running.Enqueue(Task.FromResult(default(Block)));
        _memberStarted = false;
        NextMember++;
    }

    /// <summary>Writes every byte and ended member to the sink.</summary>
    internal async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (_length > 0)
            await StartBlockAsync(cancellationToken).ConfigureAwait(false);
        while (_running.Count > 0)
            await WriteOldestAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask StartBlockAsync(CancellationToken cancellationToken)
    {
        while (_running.Count >= 2 * _parallel)
            await WriteOldestAsync(cancellationToken).ConfigureAwait(false);
        var (bytes, length) = (_current, _length);
        _running.Enqueue(Task.Run(() => Compress(bytes, length), cancellationToken));
        _current = [];
        _length = 0;
    }

    private async ValueTask WriteOldestAsync(CancellationToken cancellationToken)
    {
        var block = await _running.Dequeue().ConfigureAwait(false);
        await OpenMemberAsync(cancellationToken).ConfigureAwait(false);
        if (block.Length > 0)
        {
            await _sink.WriteAsync(block.Deflated, cancellationToken).ConfigureAwait(false);
            _crc = Crc32.Combine(_crc, block.Crc, block.Length);
            _memberSize += block.Length;
            _free.Push(block.Source);
            _outputs.Add(block.Output);
            return;
        }
        // The end of a member: a last, empty block, then CRC and size.
        var end = new byte[10];
        end[0] = 3;
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(2), _crc);
        BinaryPrimitives.WriteUInt32LittleEndian(end.AsSpan(6), (uint)_memberSize);
        await _sink.WriteAsync(end, cancellationToken).ConfigureAwait(false);
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
    private Block Compress(byte[] bytes, int length)
    {
        const int Header = 10, Trailer = 8;
        if (!_outputs.TryTake(out var output))
            output = new MemoryStream(BlockSize + (BlockSize >> 8));
        output.SetLength(0);
        int flushed;
        using (var gzip = new GZipStream(output, _options, leaveOpen: true))
        {
            gzip.Write(bytes, 0, length);
            gzip.Flush();
            flushed = (int)output.Length;
        }
        var all = output.GetBuffer().AsMemory(0, (int)output.Length);
        var crc = BinaryPrimitives.ReadUInt32LittleEndian(all.Span[^Trailer..]);
        return new Block(bytes, length, all[Header..flushed], crc, output);
    }

    private readonly record struct Block(byte[] Source, int Length, ReadOnlyMemory<byte> Deflated, uint Crc, MemoryStream Output);
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
