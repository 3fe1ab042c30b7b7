namespace BuildKit.Storage.Layers;

/// <summary>How a layer blob is compressed (spec 06 §4.1).</summary>
public enum CompressionType
{
    Uncompressed,
    Gzip,
    EStargz,
    Zstd,
}

/// <summary>Compression wanted for exported layers.</summary>
/// <param name="Type">The form of newly made blobs.</param>
/// <param name="Level">Codec level; null means the codec's default.</param>
/// <param name="Force">Also convert blobs that already exist in another form.</param>
public sealed record CompressionOptions(CompressionType Type = CompressionType.Gzip, int? Level = null, bool Force = false)
{
    /// <summary>Whether layers that are known to be elsewhere keep their URLs and their non-distributable type.</summary>
    public bool PreferNondistributable { get; init; }

    /// <summary>gzip at its default level, converting nothing.</summary>
    public static CompressionOptions Default { get; } = new();
}
