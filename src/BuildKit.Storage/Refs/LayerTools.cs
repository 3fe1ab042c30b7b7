using System.Globalization;
using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

/// <summary>The tar engine of <c>Layers/</c> as refs need it.</summary>
/// <param name="tempDirectory">Where trees are mounted for reading; made when it is missing.</param>
public sealed class LayerTools(string tempDirectory) : ILayerTools
{
    private readonly GzipBlocks _blocks = GzipBlocks.ForAllCores();
    private readonly LayerDiffOptions _diff = new() { TempDirectory = Directory.CreateDirectory(tempDirectory).FullName };

    /// <inheritdoc/>
    public async Task<MadeLayer> WriteAsync(
        IReadOnlyList<MountSpec> lower, IReadOnlyList<MountSpec> upper, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken)
    {
        await using var writer = new LayerBlobWriter(output, compression, _blocks);
        if (upper.Count == 0)
        {
            // A diff with nothing above deletes everything below: compare with an empty directory.
            using var empty = new EmptyDirectory(tempDirectory);
            await LayerDiff.WriteAsync(lower, [empty.Mount], writer, _diff, cancellationToken);
        }
        else
        {
            await LayerDiff.WriteAsync(lower, upper, writer, _diff, cancellationToken);
        }

        return Made(await writer.CompleteAsync(cancellationToken));
    }

    /// <inheritdoc/>
    public Task<Digest> ApplyAsync(Stream layer, string mediaType, IReadOnlyList<MountSpec> mounts, CancellationToken cancellationToken) =>
        LayerApply.ApplyAsync(layer, mediaType, mounts, cancellationToken);

    /// <inheritdoc/>
    public async Task<bool> NeedsConversionAsync(Descriptor layer, IBlobSource blobs, CompressionType wanted, CancellationToken cancellationToken) =>
        TypeOf(layer.MediaType) switch
        {
            null => false,
            CompressionType.Gzip when wanted is CompressionType.Gzip => await IsEStargzAsync(layer, blobs, cancellationToken),
            CompressionType.Gzip when wanted is CompressionType.EStargz => !await IsEStargzAsync(layer, blobs, cancellationToken),
            var type => type != wanted,
        };

    /// <inheritdoc/>
    public async Task<MadeLayer> ConvertAsync(
        Stream layer, string mediaType, CompressionOptions compression, IBlobWriter output, CancellationToken cancellationToken)
    {
        // The table of contents of an eStargz blob is no part of the layer it was made from (spec 06 §4.3).
        if (TypeOf(mediaType) is CompressionType.Gzip && layer.CanSeek)
        {
            var toc = await EStargzFooter.FindTocAsync(layer, cancellationToken);
            layer.Position = 0;
            if (toc is { } length)
                layer = new HeadStream(layer, length);
        }

        await using var plain = await LayerDecompression.OpenAsync(layer, mediaType, cancellationToken);
        await using var writer = new LayerBlobWriter(output, compression, _blocks);
        await plain.CopyToAsync(writer, 1 << 17, cancellationToken);
        return Made(await writer.CompleteAsync(cancellationToken));
    }

    /// <inheritdoc/>
    public async Task MergeAsync(ISnapshotter snapshotter, string name, IReadOnlyList<SnapshotPair> changes, CancellationToken cancellationToken)
    {
        var (parent, rest) = await SkipChainAsync(snapshotter, changes, cancellationToken);
        var key = $"merge-{Identifiers.New()} {name}";
        var mounts = await snapshotter.PrepareAsync(key, parent, null, cancellationToken);
        try
        {
            var shared = new HashSet<(ulong Device, ulong Inode)>();
            foreach (var change in rest)
                await ApplyChangeAsync(snapshotter, change, mounts, shared, cancellationToken);
            await snapshotter.CommitAsync(name, key, shared.Count == 0 ? null : UsageLabels(mounts, shared, cancellationToken), cancellationToken);
        }
        catch (SnapshotExistsException)
        {
            await snapshotter.RemoveAsync(key, CancellationToken.None);
        }
        catch
        {
            await snapshotter.RemoveAsync(key, CancellationToken.None);
            throw;
        }
    }

    // What is linked from another snapshot takes no space of its own (spec 06 §1.5).
    private static Dictionary<string, string> UsageLabels(
        IReadOnlyList<MountSpec> mounts, HashSet<(ulong Device, ulong Inode)> shared, CancellationToken cancellationToken)
    {
        var (bytes, inodes) = MergeApply.UsageOf(mounts, shared, cancellationToken);
        return new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["buildkit.mergeUsageSize"] = bytes.ToString(CultureInfo.InvariantCulture),
            ["buildkit.mergeUsageInodes"] = inodes.ToString(CultureInfo.InvariantCulture),
        };
    }

    private async Task ApplyChangeAsync(
        ISnapshotter snapshotter, SnapshotPair change, IReadOnlyList<MountSpec> target, HashSet<(ulong Device, ulong Inode)> shared,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<MountSpec> lower = change.Lower is null ? [] : await snapshotter.MountsAsync(change.Lower, cancellationToken);
        using var empty = new EmptyDirectory(tempDirectory);
        IReadOnlyList<MountSpec> upper = change.Upper is null ? [empty.Mount] : await snapshotter.MountsAsync(change.Upper, cancellationToken);
        await MergeApply.ApplyAsync(lower, upper, target, _diff, shared, cancellationToken);
    }

    // While each change is one snapshot on the one before, nothing has to be copied: the last of them is the parent.
    private static async Task<(string? Parent, IReadOnlyList<SnapshotPair> Remaining)> SkipChainAsync(
        ISnapshotter snapshotter, IReadOnlyList<SnapshotPair> changes, CancellationToken cancellationToken)
    {
        string? parent = null;
        var skipped = 0;
        foreach (var change in changes)
        {
            if (change.Upper is not { } upper || change.Lower != parent || (await snapshotter.StatAsync(upper, cancellationToken))?.Parent != parent)
                break;
            parent = upper;
            skipped++;
        }

        return (parent, changes.Skip(skipped).ToList());
    }

    private static MadeLayer Made(LayerBlob blob) => new(blob.DiffId, blob.MediaType, blob.Annotations);

    private static CompressionType? TypeOf(string mediaType) => mediaType switch
    {
        "application/vnd.oci.image.layer.v1.tar" or "application/vnd.docker.image.rootfs.diff.tar"
            or "application/vnd.oci.image.layer.nondistributable.v1.tar" or "application/vnd.docker.image.rootfs.foreign.diff.tar" => CompressionType.Uncompressed,
        "application/vnd.oci.image.layer.v1.tar+gzip" or "application/vnd.docker.image.rootfs.diff.tar.gzip"
            or "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" or "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => CompressionType.Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd" or "application/vnd.docker.image.rootfs.diff.tar.zstd"
            or "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => CompressionType.Zstd,
        _ => null,
    };

    private static async Task<bool> IsEStargzAsync(Descriptor layer, IBlobSource blobs, CancellationToken cancellationToken)
    {
        if (layer.Annotations.ContainsKey(EStargzAnnotations.TocDigest))
            return true;
        await using var blob = await blobs.TryOpenAsync(layer.Digest, cancellationToken);
        return blob is not null && await EStargzFooter.FindTocAsync(blob, cancellationToken) is not null;
    }

    /// <summary>A directory without content, as the mount of a tree that is not there.</summary>
    private sealed class EmptyDirectory(string tempDirectory) : IDisposable
    {
        private readonly string _path = Directory.CreateDirectory(Path.Combine(tempDirectory, "empty-" + Identifiers.New())).FullName;

        public MountSpec Mount => new("bind", _path, ["ro", "rbind"]);

        public void Dispose() => Directory.Delete(_path);
    }
}
