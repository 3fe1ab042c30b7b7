using BuildKit.Linux;
using BuildKit.Storage.Snapshots;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>
/// Computes the layer between two snapshots as an uncompressed tar (spec 06 §2.3, §3). When upper is lower plus one
/// overlay directory, that directory alone is read; otherwise, or when it cannot be read that way, the trees are compared.
/// </summary>
public static class LayerDiff
{
    /// <summary>Writes the tar of what upper changes against lower.</summary>
    /// <param name="lower">Mounts of the lower tree; null or none for a first layer.</param>
    /// <param name="upper">Mounts of the upper tree.</param>
    /// <param name="output">Gets the tar; stays open.</param>
    /// <param name="options">See <see cref="LayerDiffOptions"/>.</param>
    /// <param name="cancellationToken">Stops the walk.</param>
    /// <exception cref="LinuxException">A file could not be read.</exception>
    public static async Task WriteAsync(
        IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, Stream output, LayerDiffOptions options, CancellationToken cancellationToken)
    {
        if (!options.ForceWalk && OverlayLayers.UpperDirectory(lower, upper) is { } directory)
        {
            try
            {
                await VerifyUpperAsync(lower, directory, options, cancellationToken).ConfigureAwait(false);
            }
            catch (OverlayWalkException e)
            {
                options.OnFallback?.Invoke(e);
                await WriteWalkedAsync(lower, upper, output, options, cancellationToken).ConfigureAwait(false);
                return;
            }
            using var root = LinuxFile.OpenDirectory(directory);
            using var writer = new LayerTarWriter(output, root, options.LatestMtime);
            await WalkUpperAsync(lower, directory, options, writer.WriteAsync, cancellationToken).ConfigureAwait(false);
            await writer.CompleteAsync(cancellationToken).ConfigureAwait(false);
            return;
        }
        await WriteWalkedAsync(lower, upper, output, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reports what upper changes against lower, in the order of the layer tar.</summary>
    /// <param name="lower">Mounts of the lower tree; null or none for nothing.</param>
    /// <param name="upper">Mounts of the upper tree.</param>
    /// <param name="options">See <see cref="LayerDiffOptions"/>.</param>
    /// <param name="begin">Gets the root where the changed files can be read, and gives what is called for each change.</param>
    /// <param name="cancellationToken">Stops the walk.</param>
    public static async Task ChangesAsync(
        IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, LayerDiffOptions options, Func<SafeFileHandle, Func<LayerChange, CancellationToken, ValueTask>> begin, CancellationToken cancellationToken)
    {
        if (!options.ForceWalk && OverlayLayers.UpperDirectory(lower, upper) is { } directory)
        {
            var readable = true;
            try
            {
                await VerifyUpperAsync(lower, directory, options, cancellationToken).ConfigureAwait(false);
            }
            catch (OverlayWalkException e)
            {
                options.OnFallback?.Invoke(e);
                readable = false;
            }
            if (readable)
            {
                using var root = LinuxFile.OpenDirectory(directory);
                await WalkUpperAsync(lower, directory, options, begin(root), cancellationToken).ConfigureAwait(false);
                return;
            }
        }
        await using var lowerTree = Open(lower, options);
        await using var upperTree = MountedTree.Open(upper, readOnly: true, options.TempDirectory);
        using var lowerRoot = lowerTree is null ? null : LinuxFile.OpenDirectory(lowerTree.Root);
        using var upperRoot = LinuxFile.OpenDirectory(upperTree.Root);
        await DoubleWalk.RunAsync(lowerRoot, upperRoot, "", hideWhiteouts: false, begin(upperRoot), cancellationToken).ConfigureAwait(false);
    }

    private static async Task WriteWalkedAsync(
        IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, Stream output, LayerDiffOptions options, CancellationToken cancellationToken)
    {
        await using var lowerTree = Open(lower, options);
        await using var upperTree = MountedTree.Open(upper, readOnly: true, options.TempDirectory);
        using var lowerRoot = lowerTree is null ? null : LinuxFile.OpenDirectory(lowerTree.Root);
        using var upperRoot = LinuxFile.OpenDirectory(upperTree.Root);
        using var writer = new LayerTarWriter(output, upperRoot, options.LatestMtime);
        await DoubleWalk.RunAsync(lowerRoot, upperRoot, "", hideWhiteouts: false, writer.WriteAsync, cancellationToken).ConfigureAwait(false);
        await writer.CompleteAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Finds before anything is written whether the upper directory can be read as a difference.</summary>
    private static async ValueTask VerifyUpperAsync(IReadOnlyList<MountSpec>? lower, string directory, LayerDiffOptions options, CancellationToken cancellationToken)
    {
        await using var lowerTree = Open(lower, options);
        using var lowerRoot = lowerTree is null ? null : LinuxFile.OpenDirectory(lowerTree.Root);
        using var upperRoot = LinuxFile.OpenDirectory(directory);
        OverlayWalk.Verify(lowerRoot, upperRoot, "", OverlayWalk.KernelCopiesMetadataAlone(), cancellationToken);
    }

    private static async ValueTask WalkUpperAsync(
        IReadOnlyList<MountSpec>? lower, string directory, LayerDiffOptions options, Func<LayerChange, CancellationToken, ValueTask> onChange, CancellationToken cancellationToken)
    {
        await using var lowerTree = Open(lower, options);
        using var lowerRoot = lowerTree is null ? null : LinuxFile.OpenDirectory(lowerTree.Root);
        using var upperRoot = LinuxFile.OpenDirectory(directory);
        await OverlayWalk.RunAsync(lowerRoot, upperRoot, "", onChange, cancellationToken).ConfigureAwait(false);
    }

    private static MountedTree? Open(IReadOnlyList<MountSpec>? mounts, LayerDiffOptions options) =>
        mounts is null or [] ? null : MountedTree.Open(mounts, readOnly: true, options.TempDirectory);
}
