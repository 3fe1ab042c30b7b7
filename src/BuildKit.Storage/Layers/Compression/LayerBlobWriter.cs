using System.Security.Cryptography;
using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>A finished layer blob.</summary>
/// <param name="DiffId">Digest of the uncompressed bytes (for eStargz with its table of contents).</param>
/// <param name="Digest">Digest of the blob; empty when it was written into an ingest, whose commit gives it.</param>
/// <param name="Size">Size of the blob in bytes.</param>
/// <param name="MediaType">OCI media type.</param>
/// <param name="Annotations">Descriptor annotations, <c>containerd.io/uncompressed</c> among them.</param>
public sealed record LayerBlob(Digest DiffId, Digest Digest, long Size, string MediaType, IReadOnlyDictionary<string, string> Annotations)
{
    /// <summary>The descriptor of the blob.</summary>
    public Descriptor ToDescriptor() => new(MediaType, Digest, Size) { Annotations = Annotations };
}

/// <summary>
/// Makes a layer blob in one pass: tar bytes are written to it, hashed, compressed on all cores, hashed again and
/// handed on. Memory does not depend on the size of the layer.
/// </summary>
public sealed class LayerBlobWriter : ForwardStream
{
    /// <summary>Annotation and label with the digest of a blob's uncompressed form.</summary>
    public const string UncompressedAnnotation = "containerd.io/uncompressed";

    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly HashingSink _sink;
    private readonly LayerEncoder _encoder;
    private readonly CompressionType _type;

    /// <summary>Writes the blob to a stream, which stays open.</summary>
    public LayerBlobWriter(Stream output, CompressionOptions options)
        : this(output.WriteAsync, options, hashes: true)
    {
    }

    /// <summary>Writes the blob into an ingest; committing it is the caller's.</summary>
    public LayerBlobWriter(IBlobWriter output, CompressionOptions options)
        : this(output.WriteAsync, options, hashes: false)
    {
    }

    private LayerBlobWriter(Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> write, CompressionOptions options, bool hashes)
        : base(FileAccess.Write)
    {
        _type = options.Type;
        _sink = new HashingSink(write, hashes);
        _encoder = options.Type switch
        {
            CompressionType.Uncompressed => new PlainEncoder(_sink),
            CompressionType.Gzip => new GzipEncoder(_sink, options.Level ?? -1),
            CompressionType.EStargz => new EStargzEncoder(_sink, options.Level ?? -1),
            CompressionType.Zstd => new ZstdEncoder(_sink, options.Level ?? -1),
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Type, "unsupported compression type"),
        };
    }

    /// <summary>The OCI media type blobs of a compression have.</summary>
    public static string MediaTypeOf(CompressionType type) => type switch
    {
        CompressionType.Uncompressed => "application/vnd.oci.image.layer.v1.tar",
        CompressionType.Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar+gzip",
    };

    /// <summary>Appends tar bytes.</summary>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _hash.AppendData(buffer.Span);
        return _encoder.WriteAsync(buffer, cancellationToken);
    }

    /// <summary>Ends the blob and describes it. Nothing may be written afterwards.</summary>
    public async ValueTask<LayerBlob> CompleteAsync(CancellationToken cancellationToken)
    {
        var encoded = await _encoder.CompleteAsync(cancellationToken).ConfigureAwait(false);
        _hash.AppendData(encoded.Suffix.Span);
        var diffId = Digest.FromSha256(_hash.GetHashAndReset());
        var annotations = new Dictionary<string, string>(encoded.Annotations, StringComparer.Ordinal) { [UncompressedAnnotation] = diffId.ToString() };
        return new LayerBlob(diffId, _sink.Finish(), _sink.Count, MediaTypeOf(_type), annotations);
    }

    public override async ValueTask DisposeAsync()
    {
        await _encoder.DisposeAsync().ConfigureAwait(false);
        _sink.Dispose();
        _hash.Dispose();
        await base.DisposeAsync().ConfigureAwait(false);
    }
}
