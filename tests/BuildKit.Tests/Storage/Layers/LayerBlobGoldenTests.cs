using System.IO.Compression;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Storage.Layers;

public sealed class LayerBlobGoldenTests
{
    [Theory]
    [InlineData(CompressionType.Gzip, 0)]
    [InlineData(CompressionType.Gzip, 1024)]
    [InlineData(CompressionType.Gzip, 3_500_000)]
    [InlineData(CompressionType.Zstd, 3_500_000)]
    [InlineData(CompressionType.Zstd, 0)]
    [InlineData(CompressionType.Uncompressed, 3_500_000)]
    public async Task A_blob_decompresses_to_what_was_written(CompressionType type, int size)
    {
        var data = new byte[size];
        new Random(1).NextBytes(data.AsSpan(0, size / 2));
        var blob = new MemoryStream();
        await using var writer = new LayerBlobWriter(blob, new CompressionOptions(type));
        for (var at = 0; at < size; at += 100_000)
            await writer.WriteAsync(data.AsMemory(at, Math.Min(100_000, size - at)));
        var made = await writer.CompleteAsync(CancellationToken.None);
        Assert.Equal(Digest.Sha256(data), made.DiffId);
        Assert.Equal(Digest.Sha256(blob.ToArray()), made.Digest);
        Assert.Equal(blob.Length, made.Size);
        blob.Position = 0;
        await using var plain = await LayerDecompression.OpenAsync(blob, made.MediaType, CancellationToken.None);
        var back = new MemoryStream();
        await plain.CopyToAsync(back);
        Assert.True(data.AsSpan().SequenceEqual(back.ToArray()));
    }

    [Fact]
    public async Task A_gzip_blob_is_one_member()
    {
        var blob = new MemoryStream();
        await using var writer = new LayerBlobWriter(blob, CompressionOptions.Default);
        await writer.WriteAsync(new byte[5 << 20]);
        await writer.CompleteAsync(CancellationToken.None);
        // Its trailer names the whole size, which only holds for a single member.
        Assert.Equal(5 << 20, BitConverter.ToInt32(blob.ToArray().AsSpan(^4..)));
    }

    [Theory]
    [InlineData("d1/sub/.wh.f", 0, 0, "c12cfd0216dce5bcdd919eda2751ce345293f944b4e4fc3b8d45c0a256489f31")]
    [InlineData("abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/abcdefghi/f", 420, 1700000000, "9b511b0856382365f0e2ed572b8ff5b57d7dcb2548db8553098bbd23da8d53f7")]
    [InlineData("é", 420, 1700000000, "131d126dabdf33aa00888c72073f2464100378f2f565159ba2e77712080bd57b")]
    public void A_header_has_the_bytes_of_the_reference(string name, int mode, long mtime, string sha256)
    {
        var header = TarHeaderEncoder.Encode(new TarHeader { Name = name, Mode = mode, Mtime = new(mtime, 0) });
        Assert.Equal("sha256:" + sha256, Digest.Sha256(header).ToString());
    }

    public static TheoryData<string> EStargzCases() => [.. Golden.Index("layers", "cases", "estargz").Select(c => c.GetProperty("file").GetString()!)];

    [GoldenTheory]
    [MemberData(nameof(EStargzCases))]
    public async Task An_eStargz_blob_has_the_members_of_the_reference(string name)
    {
        using var json = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Path("layers", name)));
        var golden = json.RootElement;
        var input = Gunzip(golden.GetProperty("inputTarGz64").GetBytesFromBase64());
        var blob = new MemoryStream();
        await using var writer = new LayerBlobWriter(blob, new CompressionOptions(CompressionType.EStargz, golden.TryGetProperty("level", out var level) ? level.GetInt32() : null));
        if (golden.TryGetProperty("error", out var refused))
        {
            var failure = await Assert.ThrowsAnyAsync<Exception>(async () =>
            {
                await writer.WriteAsync(input);
                await writer.CompleteAsync(CancellationToken.None);
            });
            Assert.EndsWith(failure.Message, refused.GetString()!, StringComparison.Ordinal);
            return;
        }
        await writer.WriteAsync(input);
        var made = await writer.CompleteAsync(CancellationToken.None);
        var tocOffset = (await EStargzFooter.FindTocAsync(blob, CancellationToken.None))!.Value;
        var all = Gunzip(blob.ToArray());
        Assert.Equal(input, all[..input.Length]);
        Assert.Equal(input, Gunzip(blob.ToArray()[..(int)tocOffset]));
        Assert.Equal(made.DiffId, Digest.Sha256(all));
        var reader = new TarReader(new MemoryStream(all[input.Length..]));
        var toc = await reader.NextAsync(CancellationToken.None);
        var text = new byte[toc!.Size];
        for (var at = 0; at < text.Length;)
            at += await reader.ReadAsync(text.AsMemory(at), CancellationToken.None);
        Assert.Equal(WithoutOffsets(golden.GetProperty("tocJSON").GetString()!), WithoutOffsets(System.Text.Encoding.UTF8.GetString(text)));
        Assert.Equal(Digest.Sha256(text).ToString(), made.Annotations["containerd.io/snapshot/stargz/toc.digest"]);
    }

    /// <summary>Offsets depend on the deflate encoder.</summary>
    private static string WithoutOffsets(string toc) => string.Join('\n', toc.Split('\n').Where(l => !l.Contains("\"offset\":", StringComparison.Ordinal)));

    private static byte[] Gunzip(byte[] bytes)
    {
        using var gzip = new GZipStream(new MemoryStream(bytes), CompressionMode.Decompress);
        var result = new MemoryStream();
        gzip.CopyTo(result);
        return result.ToArray();
    }
}
