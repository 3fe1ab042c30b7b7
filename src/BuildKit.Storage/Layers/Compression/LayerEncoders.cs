namespace BuildKit.Storage.Layers.Compression;

/// <summary>Turns tar bytes into blob bytes. Used by one writer at a time.</summary>
internal abstract class LayerEncoder : IAsyncDisposable
{
    internal abstract ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);

    /// <summary>Writes what is left; afterwards the sink has the whole blob.</summary>
    internal abstract ValueTask<EncodedLayer> CompleteAsync(CancellationToken cancellationToken);

    public virtual ValueTask DisposeAsync() => ValueTask.CompletedTask;
}

/// <summary>What an encoder adds to a layer.</summary>
/// <param name="Suffix">Bytes that decompressing yields after the tar (the TOC of eStargz).</param>
/// <param name="Annotations">Descriptor annotations.</param>
internal sealed record EncodedLayer(ReadOnlyMemory<byte> Suffix, IReadOnlyDictionary<string, string> Annotations)
{
    internal static readonly EncodedLayer Plain = new(default, new Dictionary<string, string>(StringComparer.Ordinal));
}

internal sealed class PlainEncoder(HashingSink sink) : LayerEncoder
{
    internal override ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => sink.WriteAsync(bytes, cancellationToken);

    internal override ValueTask<EncodedLayer> CompleteAsync(CancellationToken cancellationToken) => ValueTask.FromResult(EncodedLayer.Plain);
}

internal sealed class GzipEncoder(HashingSink sink, GzipBlocks blocks, int level) : LayerEncoder
{
    private readonly ParallelGzip _gzip = new(sink, blocks, level);

    internal override ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) => _gzip.WriteAsync(bytes, cancellationToken);

    internal override async ValueTask<EncodedLayer> CompleteAsync(CancellationToken cancellationToken)
    {
        await _gzip.EndMemberAsync(evenIfEmpty: true, cancellationToken).ConfigureAwait(false);
        await _gzip.FlushAsync(cancellationToken).ConfigureAwait(false);
        return EncodedLayer.Plain;
    }

    public override ValueTask DisposeAsync() => _gzip.DisposeAsync();
}

internal sealed class ZstdEncoder : LayerEncoder
{
    private readonly HashingSink _sink;
    private readonly byte[] _output = new byte[256 << 10];
    private nint _context = ZstdNative.Create(ZstdNative.ZSTD_createCCtx);

    internal ZstdEncoder(HashingSink sink, int level)
    {
        _sink = sink;
        // The four speeds of the reference's codec (spec 06 §4.1) as levels of ours.
        var native = level switch
        {
            >= 0 and <= 2 => 1,
            7 or 8 => 7,
            >= 9 => 11,
            _ => 3,
        };
        ZstdNative.Check(ZstdNative.ZSTD_CCtx_setParameter(_context, ZstdNative.CompressionLevel, native));
        ZstdNative.Check(ZstdNative.ZSTD_CCtx_setParameter(_context, ZstdNative.ChecksumFlag, 1));
        // A library without threads refuses; jobs have a fixed size, so any number of workers gives the same bytes.
        _ = ZstdNative.ZSTD_CCtx_setParameter(_context, ZstdNative.Workers, Math.Clamp(Environment.ProcessorCount, 1, 16));
    }

    internal override async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            var (consumed, produced, _) = Step(bytes.Span, ZstdNative.Continue);
            bytes = bytes[consumed..];
            if (produced > 0)
                await _sink.WriteAsync(_output.AsMemory(0, produced), cancellationToken).ConfigureAwait(false);
        }
    }

    internal override async ValueTask<EncodedLayer> CompleteAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var (_, produced, left) = Step(default, ZstdNative.End);
            if (produced > 0)
                await _sink.WriteAsync(_output.AsMemory(0, produced), cancellationToken).ConfigureAwait(false);
            if (left == 0)
                return EncodedLayer.Plain;
        }
    }

    private unsafe (int Consumed, int Produced, nuint Left) Step(ReadOnlySpan<byte> bytes, int operation)
    {
        fixed (byte* i = bytes)
        fixed (byte* o = _output)
        {
            var input = new ZstdNative.Buffer { Bytes = i, Size = (nuint)bytes.Length };
            var output = new ZstdNative.Buffer { Bytes = o, Size = (nuint)_output.Length };
            var left = ZstdNative.Check(ZstdNative.ZSTD_compressStream2(_context, &output, &input, operation));
            return ((int)input.Position, (int)output.Position, left);
        }
    }

    public override ValueTask DisposeAsync()
    {
        if (_context != 0)
            _ = ZstdNative.ZSTD_freeCCtx(_context);
        _context = 0;
        return ValueTask.CompletedTask;
    }
}
