using System.IO.Compression;
using BuildKit.Oci;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>From blob bytes to tar bytes.</summary>
public static class LayerDecompression
{
    /// <summary>
    /// Opens the uncompressed bytes of a layer. <c>…layer.v1.tar</c> of OCI is taken as it is; every other layer type
    /// is recognised by its first bytes (gzip, zstd, else plain).
    /// </summary>
    /// <param name="blob">Stays open; is read to its end when the result is.</param>
    /// <param name="mediaType">Media type of the layer.</param>
    /// <param name="cancellationToken">Cancels reading the first bytes.</param>
    /// <exception cref="NotSupportedException">The media type is none of a layer.</exception>
    public static ValueTask<Stream> OpenAsync(Stream blob, string mediaType, CancellationToken cancellationToken) => mediaType switch
    {
        "application/vnd.oci.image.layer.v1.tar" or "application/vnd.oci.image.layer.nondistributable.v1.tar" =>
            ValueTask.FromResult<Stream>(new PrefixedStream(default, blob)),
        "application/vnd.oci.image.layer.v1.tar+gzip" or "application/vnd.oci.image.layer.v1.tar+zstd"
            or "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" or "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
            or "application/vnd.docker.image.rootfs.diff.tar" or "application/vnd.docker.image.rootfs.diff.tar.gzip" or "application/vnd.docker.image.rootfs.diff.tar.zstd"
            or "application/vnd.docker.image.rootfs.foreign.diff.tar" or "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" or "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd" =>
            OpenDetectedAsync(blob, cancellationToken),
        _ => throw new NotSupportedException($"unsupported layer media type {mediaType}: expected a tar layer of OCI or docker, plain, gzip or zstd"),
    };

    /// <summary>Opens the uncompressed bytes of a stream recognised by its first bytes.</summary>
    public static async ValueTask<Stream> OpenDetectedAsync(Stream blob, CancellationToken cancellationToken)
    {
        var head = new byte[4];
        var length = await blob.ReadAtLeastAsync(head, head.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        var whole = new PrefixedStream(head.AsMemory(0, length), blob);
        return Detect(head.AsSpan(0, length)) switch
        {
            CompressionType.Gzip => new GZipStream(whole, CompressionMode.Decompress),
            CompressionType.Zstd => new ZstdReadStream(whole),
            _ => whole,
        };
    }

    /// <summary>Recognises gzip (<c>1f8b08</c>) and zstd (<c>28b52ffd</c>) by first bytes.</summary>
    public static CompressionType Detect(ReadOnlySpan<byte> head)
    {
        if (head.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B, 0x08]))
            return CompressionType.Gzip;
        return head.StartsWith((ReadOnlySpan<byte>)[0x28, 0xB5, 0x2F, 0xFD]) ? CompressionType.Zstd : CompressionType.Uncompressed;
    }
}

/// <summary>Some bytes, then a stream, which stays open.</summary>
public sealed class PrefixedStream(ReadOnlyMemory<byte> prefix, Stream rest) : ForwardStream(FileAccess.Read)
{
    private ReadOnlyMemory<byte> _prefix = prefix;

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _prefix.IsEmpty ? rest.ReadAsync(buffer, cancellationToken) : ValueTask.FromResult(Take(buffer.Span));

    public override int Read(Span<byte> buffer) => _prefix.IsEmpty ? rest.Read(buffer) : Take(buffer);

    private int Take(Span<byte> buffer)
    {
        var count = Math.Min(buffer.Length, _prefix.Length);
        _prefix.Span[..count].CopyTo(buffer);
        _prefix = _prefix[count..];
        return count;
    }
}
