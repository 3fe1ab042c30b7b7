using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>The upper directory cannot be read as a difference; the trees have to be compared.</summary>
internal sealed class OverlayWalkException(string message) : IOException(message);

/// <summary>Differences by reading the upper directory of an overlay (spec 06 §2.3 B).</summary>
internal static class OverlayWalk
{
    /// <param name="lower">Root of the merged lower tree; null for none.</param>
    /// <param name="upper">The upper directory as it is on disk.</param>
    /// <param name="prefix">Directory to walk, empty or ending in a slash.</param>
    /// <param name="onChange">Gets each change in order.</param>
    /// <param name="cancellationToken">Stops the walk.</param>
    internal static async ValueTask RunAsync(
        SafeFileHandle? lower, SafeFileHandle upper, string prefix, Func<LayerChange, CancellationToken, ValueTask> onChange, CancellationToken cancellationToken)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(upper, prefix.Length == 0 ? "." : prefix[..^1]))
        {
            var path = prefix + entry.Name;
            var stat = LinuxFile.Lstat(upper, path);
            using var lowerFile = OpenLower(lower, path, out var errno);
            if (stat.IsOverlayWhiteout)
            {
                if (lowerFile is not null)
                    await onChange(new LayerChange(ChangeKind.Delete, path, default), cancellationToken).ConfigureAwait(false);
                continue;
            }
            if (errno is not (Errno.None or Errno.ENOENT or Errno.ENOTDIR))
                throw new LinuxException(errno, "lstat", path);
            if (lowerFile is null)
            {
                await onChange(new LayerChange(ChangeKind.Add, path, stat), cancellationToken).ConfigureAwait(false);
            }
            else if (!IsSame(lower!, lowerFile, path, upper, stat))
            {
                await onChange(new LayerChange(ChangeKind.Modify, path, stat), cancellationToken).ConfigureAwait(false);
            }
            if (!stat.IsDirectory)
                continue;
            if (lowerFile is not null && IsOpaque(upper, path))
            {
                var lowerIsDirectory = LinuxFile.Stat(lowerFile).IsDirectory;
                await DoubleWalk.RunAsync(lowerIsDirectory ? lower : null, upper, path + "/", hideWhiteouts: true, onChange, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await RunAsync(lower, upper, path + "/", onChange, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Checks that the directory can be read as a difference.</summary>
    /// <exception cref="OverlayWalkException">It holds redirects, files without content, or whiteouts of paths below a file.</exception>
    internal static void Verify(SafeFileHandle? lower, SafeFileHandle upper, string prefix, bool checkMetacopy, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var directory = LinuxFile.Open(upper, prefix.Length == 0 ? "." : prefix[..^1], OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
        foreach (var entry in LinuxDirectory.Read(directory))
        {
            var path = prefix + entry.Name;
            var type = entry.Type != 0 ? entry.Type : LinuxFile.Lstat(directory, entry.Name).Type;
            if (type == UnixMode.Directory)
            {
                if (Xattr.Get(directory, entry.Name, "trusted.overlay.redirect") is { Length: > 0 })
                    throw new OverlayWalkException("redirect_dir is used but it's not supported in overlayfs differ");
                Verify(lower, upper, path + "/", checkMetacopy, cancellationToken);
            }
            else if (type == UnixMode.Regular && checkMetacopy && Xattr.Get(directory, entry.Name, "trusted.overlay.metacopy") is not null)
            {
                throw new OverlayWalkException($"{path}: metacopy is used but it's not supported in overlayfs differ");
            }
            else if (type == UnixMode.Char && LinuxFile.Lstat(directory, entry.Name).IsOverlayWhiteout)
            {
                using var lowerFile = OpenLower(lower, path, out var errno);
                if (errno is not (Errno.None or Errno.ENOENT))
                    throw new OverlayWalkException($"failed to lstat: lstat {path}: {ErrnoText.Of(errno)}");
            }
        }
    }

    /// <summary>Whether the kernel is set up to copy up metadata without content.</summary>
    internal static bool KernelCopiesMetadataAlone()
    {
        const string Parameter = "/sys/module/overlay/parameters/metacopy";
        return File.Exists(Parameter) && File.ReadAllText(Parameter).StartsWith('Y');
    }

    /// <summary>Whether a directory hides what is below it.</summary>
    internal static bool IsOpaque(SafeFileHandle root, string path) =>
        Xattr.Get(root, path, "trusted.overlay.opaque") is [(byte)'y'] || Xattr.Get(root, path, "user.overlay.opaque") is [(byte)'y'];

    /// <summary>The file of the lower tree without following it; links in its directories are followed inside the tree.</summary>
    private static SafeFileHandle? OpenLower(SafeFileHandle? lower, string path, out Errno errno)
    {
        errno = Errno.ENOENT;
        if (lower is null)
            return null;
        errno = RootedPath.TryOpen(lower, path, OpenFlags.PathOnly | OpenFlags.NoFollow, out var handle);
        // A path through a loop of links is not there; its directory is one that replaced the link.
        if (errno == Errno.ELOOP)
            errno = Errno.ENOENT;
        return handle;
    }

    private static bool IsSame(SafeFileHandle lower, SafeFileHandle lowerFile, string path, SafeFileHandle upper, in FileStat stat)
    {
        // The resolved name, because attributes and links are read by name.
        var lowerPath = RootedPath.Resolve(lower, path, followLast: false);
        return FileComparison.IsSame(lower, lowerPath, LinuxFile.Stat(lowerFile), upper, path, stat);
    }
}
