using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;

namespace BuildKit.Tests.Storage.Layers;

public sealed class GzipBlocksTests
{
    private const int Size = (3 << 20) + 12345;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    public async Task Layers_that_share_few_blocks_have_the_bytes_of_one_that_has_all(int count)
    {
        var blocks = new GzipBlocks(count);
        var wanted = await MakeAsync(new GzipBlocks(64), CompressionType.Gzip, new Ingest());
        var made = await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => Task.Run(() => MakeAsync(blocks, CompressionType.Gzip, new Ingest()))));
        Assert.All(made, digest => Assert.Equal(wanted, digest));
        Assert.Equal(count, blocks.Free);
    }

    [Theory]
    [InlineData(CompressionType.Gzip)]
    [InlineData(CompressionType.EStargz)]
    public async Task A_layer_that_fails_gives_its_blocks_back(CompressionType type)
    {
        var blocks = new GzipBlocks(4);
        var error = await Assert.ThrowsAsync<IOException>(() => MakeAsync(blocks, type, new Ingest { Limit = 100_000 }));
        Assert.Equal("full", error.Message);
        Assert.Equal(4, blocks.Free);
    }

    private static async Task<Digest> MakeAsync(GzipBlocks blocks, CompressionType type, Ingest ingest)
    {
        var content = new byte[Size];
        new Random(1).NextBytes(content);
        var header = BuildKit.Storage.Layers.Tar.TarHeaderEncoder.Encode(new BuildKit.Storage.Layers.Tar.TarHeader { Name = "f", Mode = 420, Size = Size });
        var tar = new byte[(header.Length + Size + 2048) / 512 * 512];
        header.CopyTo(tar, 0);
        content.CopyTo(tar, header.Length);
        await using var writer = new LayerBlobWriter(ingest, new CompressionOptions(type), blocks);
        for (var at = 0; at < tar.Length; at += 200_000)
            await writer.WriteAsync(tar.AsMemory(at, Math.Min(200_000, tar.Length - at)));
        await writer.CompleteAsync(CancellationToken.None);
        return Digest.Sha256(ingest.Bytes.ToArray());
    }

    /// <summary>An ingest in memory that is full at some point.</summary>
    private sealed class Ingest : IBlobWriter
    {
        public MemoryStream Bytes { get; } = new();

        public int Limit { get; init; } = int.MaxValue;

        public long Offset => Bytes.Length;

        public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
        {
            if (Bytes.Length + bytes.Length > Limit)
                throw new IOException("full");
            Bytes.Write(bytes.Span);
            return ValueTask.CompletedTask;
        }

        public ValueTask TruncateAsync(CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<Digest> CommitAsync(long? expectedSize, Digest? expectedDigest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask AbortAsync() => ValueTask.CompletedTask;

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
