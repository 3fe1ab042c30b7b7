using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>
/// eStargz (spec 06 §4.3): the tar unchanged in gzip members that start at file contents, a member with the table of
/// contents, and a footer naming its offset.
/// </summary>
internal sealed class EStargzEncoder : LayerEncoder
{
    internal const string TocName = "stargz.index.json";
    internal const int ChunkSize = 4 << 20;

    private readonly HashingSink _sink;
    private readonly ParallelGzip _gzip;
    private readonly Pipe _pipe = new(new PipeOptions(pauseWriterThreshold: 4 << 20, resumeWriterThreshold: 2 << 20, minimumSegmentSize: 64 << 10));
    private readonly List<EStargzToc.Entry> _entries = [];
    private readonly Task _splitting;
    private long _uncompressed;

    internal EStargzEncoder(HashingSink sink, int level)
    {
        _sink = sink;
        _gzip = new ParallelGzip(sink, level);
        _splitting = Task.Run(SplitAsync, CancellationToken.None);
    }

    internal override async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        var result = await _pipe.Writer.WriteAsync(bytes, cancellationToken).ConfigureAwait(false);
        if (result.IsCompleted)
            await _splitting.ConfigureAwait(false); // it ended early only by an error, which this throws
    }

    internal override async ValueTask<EncodedLayer> CompleteAsync(CancellationToken cancellationToken)
    {
        await _pipe.Writer.CompleteAsync().ConfigureAwait(false);
        await _splitting.ConfigureAwait(false);
        await _gzip.EndMemberAsync(evenIfEmpty: false, cancellationToken).ConfigureAwait(false);
        await _gzip.FlushAsync(cancellationToken).ConfigureAwait(false);
        var tocOffset = _sink.Count;
        var json = EStargzToc.Write(_entries, _gzip.MemberOffsets);
        var header = TarHeaderEncoder.Encode(new TarHeader { Name = TocName, Size = json.Length });
        var toc = new byte[header.Length + json.Length + TarHeaderEncoder.Padding(json.Length) + (2 * TarHeaderEncoder.BlockSize)];
        header.CopyTo(toc, 0);
        json.CopyTo(toc, header.Length);
        await _gzip.WriteAsync(toc, cancellationToken).ConfigureAwait(false);
        await _gzip.EndMemberAsync(evenIfEmpty: false, cancellationToken).ConfigureAwait(false);
        await _gzip.FlushAsync(cancellationToken).ConfigureAwait(false);
        await _sink.WriteAsync(EStargzFooter.Make(tocOffset), cancellationToken).ConfigureAwait(false);
        return new EncodedLayer(toc, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["containerd.io/snapshot/stargz/toc.digest"] = Digest.Sha256(json).ToString(),
            ["io.containers.estargz.uncompressed-size"] = (_uncompressed + toc.Length).ToString(CultureInfo.InvariantCulture),
        });
    }

    public override async ValueTask DisposeAsync()
    {
        await _pipe.Writer.CompleteAsync(new OperationCanceledException()).ConfigureAwait(false);
        await _splitting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task SplitAsync()
    {
        try
        {
            var raw = new CopyingStream(this, _pipe.Reader.AsStream());
            var reader = new TarReader(raw);
            while (await reader.NextAsync(CancellationToken.None).ConfigureAwait(false) is { } header)
            {
                if (GoPath.Clean(header.Name).TrimStart('/') == TocName)
                    throw new InvalidDataException("existing TOC JSON is not allowed; decompress layer before append");
                if (header.Type == TarType.PaxGlobal)
                    continue;
                await AddEntryAsync(reader, raw, header).ConfigureAwait(false);
            }
            var rest = ArrayPool<byte>.Shared.Rent(64 << 10);
            while (await raw.ReadAsync(rest, CancellationToken.None).ConfigureAwait(false) > 0)
            {
            }
            ArrayPool<byte>.Shared.Return(rest);
            await _pipe.Reader.CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await _pipe.Reader.CompleteAsync(e).ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask AddEntryAsync(TarReader reader, CopyingStream raw, TarHeader header)
    {
        var entry = new EStargzToc.Entry { Header = header, Type = EStargzToc.TypeName(header.Type) };
        _entries.Add(entry);
        if (header.Type != TarType.Regular)
            return;
        using var whole = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var chunk = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var buffer = new byte[64 << 10];
        for (long offset = 0; offset < header.Size;)
        {
            var size = Math.Min(ChunkSize, header.Size - offset);
            await _gzip.EndMemberAsync(evenIfEmpty: false, CancellationToken.None).ConfigureAwait(false);
            var part = offset == 0 ? entry : new EStargzToc.Entry { Header = header, Type = "chunk", ChunkOffset = offset };
            part.Member = _gzip.NextMember;
            part.ChunkSize = size == ChunkSize ? ChunkSize : 0;
            if (offset > 0)
                _entries.Add(part);
            for (long done = 0; done < size;)
            {
                var read = await reader.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, size - done)), CancellationToken.None).ConfigureAwait(false);
                if (read == 0)
                    throw TarFormatException.UnexpectedEnd();
                whole.AppendData(buffer, 0, read);
                chunk.AppendData(buffer, 0, read);
                done += read;
            }
            part.ChunkDigest = Digest.FromSha256(chunk.GetHashAndReset()).ToString();
            offset += size;
        }
        entry.Digest = Digest.FromSha256(whole.GetHashAndReset()).ToString();
    }

    /// <summary>Compresses every byte the tar reader takes, in order, headers and padding included.</summary>
    private sealed class CopyingStream(EStargzEncoder owner, Stream source) : ForwardStream(FileAccess.Read)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = await source.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            await owner._gzip.WriteAsync(buffer[..read], cancellationToken).ConfigureAwait(false);
            owner._uncompressed += read;
            return read;
        }
    }
}
