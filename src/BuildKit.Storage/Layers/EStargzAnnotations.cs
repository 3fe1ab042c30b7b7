namespace BuildKit.Storage.Layers;

/// <summary>What a descriptor says of an eStargz blob beside its media type, which is that of gzip. Tools that fetch single files
/// do not trust a blob without the first.</summary>
public static class EStargzAnnotations
{
    /// <summary>Digest of the table of contents.</summary>
    public const string TocDigest = "containerd.io/snapshot/stargz/toc.digest";

    /// <summary>Bytes of all gzip members together, as decimal text.</summary>
    public const string UncompressedSize = "io.containers.estargz.uncompressed-size";
}
