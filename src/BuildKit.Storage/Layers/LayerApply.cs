using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Layers;

/// <summary>Unpacks layer blobs onto snapshots (spec 06 §3.4).</summary>
public static class LayerApply
{
    /// <summary>
    /// Unpacks a layer. Onto an overlay, outside a user namespace, it goes straight into the upper directory with
    /// overlay whiteouts; onto anything else whiteouts delete. The whole blob is read, bytes after the archive too.
    /// </summary>
    /// <param name="blob">The layer's bytes, already verified against their digest, or being verified while read.</param>
    /// <param name="mediaType">Says whether the bytes may be compressed; how, their first bytes say.</param>
    /// <param name="mounts">Mounts of the active snapshot.</param>
    /// <param name="cancellationToken">Stops between blocks; the snapshot is then to be thrown away.</param>
    /// <returns>Digest of the uncompressed bytes; the caller compares it with the one expected.</returns>
    /// <exception cref="TarFormatException">The archive is damaged.</exception>
    /// <exception cref="IOException">A file could not be made.</exception>
    public static async Task<Digest> ApplyAsync(Stream blob, string mediaType, IReadOnlyList<MountSpec> mounts, CancellationToken cancellationToken)
    {
        await using var plain = await LayerDecompression.OpenAsync(blob, mediaType, cancellationToken).ConfigureAwait(false);
        await using var hashing = new HashingReadStream(plain);
        await using var ahead = new ReadAheadStream(hashing);
        var userNamespace = LinuxProcess.InUserNamespace();
        if (!userNamespace && mounts is [{ Type: "overlay" } overlay] && overlay.Options.FirstOrDefault(o => o.StartsWith("upperdir=", StringComparison.Ordinal)) is { } upper)
        {
            var lower = OverlayLayers.Of(mounts) is { } layers ? layers.SkipLast(1).Reverse().ToList() : [];
            using var applier = new LayerApplier(upper["upperdir=".Length..], new OverlayWhiteouts(lower), userNamespace);
            await applier.ApplyAsync(ahead, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await using var tree = MountedTree.Open(mounts, readOnly: false);
            using var applier = new LayerApplier(tree.Root, overlay: null, userNamespace);
            await applier.ApplyAsync(ahead, cancellationToken).ConfigureAwait(false);
        }
        await ahead.DrainAsync(cancellationToken).ConfigureAwait(false);
        return hashing.Finish();
    }

    /// <summary>
    /// Unpacks an ordinary archive beneath a directory: names that look like whiteouts are plain files, attributes the
    /// file system refuses are left out. Nothing leads out of the directory.
    /// </summary>
    /// <param name="archive">Uncompressed tar bytes.</param>
    /// <param name="directory">Existing directory.</param>
    /// <param name="cancellationToken">Stops between blocks.</param>
    /// <exception cref="TarFormatException">The archive is damaged.</exception>
    public static async Task UnpackAsync(Stream archive, string directory, CancellationToken cancellationToken)
    {
        await using var ahead = new ReadAheadStream(archive);
        using var applier = new LayerApplier(directory, overlay: null, LinuxProcess.InUserNamespace()) { IsPlainArchive = true };
        await applier.ApplyAsync(ahead, cancellationToken).ConfigureAwait(false);
    }
}

/// <summary>Deleted names are kept as overlay whiteouts; parents that the layer leaves out look like those of the lower directories.</summary>
/// <param name="Lower">Lower directories, nearest first.</param>
internal sealed record OverlayWhiteouts(IReadOnlyList<string> Lower);
