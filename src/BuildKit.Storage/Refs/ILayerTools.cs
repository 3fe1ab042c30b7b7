using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

/// <summary>
/// What refs need done to trees and layer streams. The daemon uses the tar engine of <c>Layers/</c>; tests
/// of the records' life put something smaller in its place. Nothing here knows records.
/// </summary>
public interface ILayerTools
{
    /// <summary>Writes what upper changes against lower as a compressed layer, in one pass.</summary>
    Task<MadeLayer> WriteAsync(
        IReadOnlyList<MountSpec> lower, IReadOnlyList<MountSpec> upper, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken);

    /// <summary>Unpacks a layer onto mounts; returns the digest of the uncompressed stream.</summary>
    Task<Digest> ApplyAsync(Stream layer, string mediaType, IReadOnlyList<MountSpec> mounts, CancellationToken cancellationToken);

    /// <summary>Whether a layer blob is in another form than the one wanted.</summary>
    Task<bool> NeedsConversionAsync(Descriptor layer, IBlobSource blobs, CompressionType wanted, CancellationToken cancellationToken);

    /// <summary>Writes a layer in another compression.</summary>
    Task<MadeLayer> ConvertAsync(Stream layer, string mediaType, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken);

    /// <summary>Makes a committed snapshot out of the changes between pairs of snapshots, in order (spec 06 §2.4).
    /// An existing snapshot of that name is success.</summary>
    Task MergeAsync(ISnapshotter snapshotter, string name, IReadOnlyList<SnapshotPair> changes, CancellationToken cancellationToken);
}

/// <summary>Opens blobs that are here.</summary>
public interface IBlobSource
{
    /// <summary>The bytes, or null when the blob is not here.</summary>
    ValueTask<Stream?> TryOpenAsync(Digest digest, CancellationToken cancellationToken);
}

/// <summary>A layer that was written.</summary>
/// <param name="DiffId">Digest of the uncompressed stream.</param>
/// <param name="MediaType">Media type of what was written.</param>
/// <param name="Annotations">Annotations of the format (eStargz).</param>
public sealed record MadeLayer(Digest DiffId, string MediaType, IReadOnlyDictionary<string, string> Annotations);

/// <summary>A change between two snapshots; null is the empty tree.</summary>
public sealed record SnapshotPair(string? Lower, string? Upper);
