using BuildKit.Linux;
using BuildKit.Storage.Snapshots;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>
/// Puts what one snapshot adds to another onto a third, without a tar between: files are hard linked from the source
/// where the file system allows, so that merging costs neither space nor copying (spec 06 §2.4).
/// </summary>
public static class MergeApply
{
    /// <summary>Applies the changes from lower to upper.</summary>
    /// <param name="lower">Mounts of the lower tree; null or none for nothing.</param>
    /// <param name="upper">Mounts of the upper tree.</param>
    /// <param name="target">Mounts of the active snapshot to change; of an overlay the upper directory is changed, which must not be mounted.</param>
    /// <param name="options">How changes are found.</param>
    /// <param name="cancellationToken">Stops between files; the target is then to be thrown away.</param>
    public static Task ApplyAsync(
        IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, IReadOnlyList<MountSpec> target, LayerDiffOptions options, CancellationToken cancellationToken) =>
        ApplyAsync(lower, upper, target, options, [], cancellationToken);

    /// <summary>Applies the changes from lower to upper and notes which files are shared with their source.</summary>
    /// <param name="lower">Mounts of the lower tree; null or none for nothing.</param>
    /// <param name="upper">Mounts of the upper tree.</param>
    /// <param name="target">Mounts of the active snapshot to change.</param>
    /// <param name="options">How changes are found.</param>
    /// <param name="shared">Gets the inodes that were linked from the source instead of copied.</param>
    /// <param name="cancellationToken">Stops between files; the target is then to be thrown away.</param>
    public static async Task ApplyAsync(
        IReadOnlyList<MountSpec>? lower, IReadOnlyList<MountSpec> upper, IReadOnlyList<MountSpec> target, LayerDiffOptions options,
        HashSet<(ulong Device, ulong Inode)> shared, CancellationToken cancellationToken)
    {
        var directory = UpperDirectory(target);
        IReadOnlyList<string>? below = directory is null ? null : [.. (OverlayLayers.Of(target) ?? []).SkipLast(1).Reverse()];
        await using var tree = directory is null ? MountedTree.Open(target, readOnly: false, options.TempDirectory) : null;
        var userXattr = target is [var only] && only.Options.Contains("userxattr");
        using var merger = new Merger(directory ?? tree!.Root, below, userXattr, shared);
        await LayerDiff.ChangesAsync(lower, upper, options, root =>
        {
            merger.Source = root;
            return merger.Apply;
        }, cancellationToken).ConfigureAwait(false);
        merger.SetDirectoryTimes();
    }

    /// <summary>Bytes and inodes a merged snapshot takes by itself; files linked from other snapshots count nothing (spec 06 §1.5).</summary>
    /// <param name="target">Mounts of the active snapshot.</param>
    /// <param name="shared">The inodes noted by the applications onto it.</param>
    /// <param name="cancellationToken">Stops the walk.</param>
    public static (long Bytes, long Inodes) UsageOf(
        IReadOnlyList<MountSpec> target, IReadOnlySet<(ulong Device, ulong Inode)> shared, CancellationToken cancellationToken) =>
        LinuxDirectory.Usage(UpperDirectory(target) ?? MountedTree.BindSource(target) ?? throw new ArgumentException("no directory of its own", nameof(target)), shared, cancellationToken);

    private static string? UpperDirectory(IReadOnlyList<MountSpec> target) => target is [{ Type: not "bind" } overlay]
        ? overlay.Options.FirstOrDefault(o => o.StartsWith("upperdir=", StringComparison.Ordinal))?["upperdir=".Length..]
        : null;

    private sealed class Merger(
        string target, IReadOnlyList<string>? below, bool userXattr, HashSet<(ulong Device, ulong Inode)> shared) : IDisposable
    {
        private readonly SafeFileHandle _target = LinuxFile.OpenDirectory(target);
        private readonly List<SafeFileHandle> _below = [.. (below ?? []).Select(LinuxFile.OpenDirectory)];
        private readonly Dictionary<(ulong Device, ulong Inode), string> _links = [];
        private readonly Dictionary<string, FileStat> _directories = new(StringComparer.Ordinal);

        internal SafeFileHandle Source { get; set; } = null!;

        internal ValueTask Apply(LayerChange change, CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (change.Kind != ChangeKind.Unmodified && change.Stat.Type != UnixMode.Socket)
                ApplyOne(change, cancellationToken);
            return ValueTask.CompletedTask;
        }

        /// <summary>Writing into a directory changed its time; the right one is set on those that are still there.</summary>
        internal void SetDirectoryTimes()
        {
            foreach (var (path, stat) in _directories)
            {
                if (LinuxFile.TryLstat(_target, path, out var current) && current.IsDirectory)
                    LinuxFile.SetTimes(_target, path, stat.Atime, stat.Mtime);
            }
        }

        public void Dispose()
        {
            _target.Dispose();
            foreach (var directory in _below)
                directory.Dispose();
        }

        private void ApplyOne(LayerChange change, CancellationToken cancellationToken)
        {
            var path = change.Path;
            var slash = path.LastIndexOf('/');
            if (slash > 0 && !_directories.ContainsKey(path[..slash]))
                ApplyOne(new LayerChange(ChangeKind.Modify, path[..slash], LinuxFile.Lstat(Source, path[..slash])), cancellationToken);
            var exists = LinuxFile.TryLstat(_target, path, out var existing);
            var inLower = TryFindBelow(path, out var lower);
            if (change.Kind == ChangeKind.Delete)
            {
                LinuxDirectory.RemoveTree(_target, path);
                if (inLower)
                    LinuxFile.Mknod(_target, path, UnixMode.Char);
                return;
            }
            var stat = change.Stat;
            if (exists && !(existing.IsDirectory && stat.IsDirectory))
            {
                LinuxDirectory.RemoveTree(_target, path);
                exists = false;
            }
            if (stat.IsDirectory)
                MakeDirectory(path, stat, exists, hidesLower: !exists && inLower && (!lower.IsDirectory || existing.IsOverlayWhiteout));
            else
                MakeFile(path, stat, cancellationToken);
        }

        private void MakeDirectory(string path, in FileStat stat, bool exists, bool hidesLower)
        {
            if (!exists)
                LinuxFile.Mkdir(_target, path, stat.Permissions);
            CopyMetadata(path, stat);
            if (hidesLower)
            {
                var name = userXattr ? "user.overlay.opaque" : "trusted.overlay.opaque";
                var errno = Xattr.TrySet(_target, path, name, "y"u8);
                if (errno != Errno.None)
                    throw new LinuxException(errno, "lsetxattr " + name, $"{target}/{path}");
            }
            _directories[path] = stat;
        }

        private void MakeFile(string path, in FileStat stat, CancellationToken cancellationToken)
        {
            var inode = (stat.Device, stat.Inode);
            if (stat.Links > 1 && _links.TryGetValue(inode, out var first) && LinuxFile.TryLink(_target, first, _target, path) == Errno.None)
                return;
            _links.TryAdd(inode, path);
            if (stat.Type != UnixMode.Fifo)
            {
                switch (LinuxFile.TryLink(Source, path, _target, path))
                {
                    case Errno.None:
                        shared.Add(inode);
                        return;
                    case Errno.EXDEV or Errno.EMLINK or Errno.EPERM or Errno.EOPNOTSUPP:
                        break;
                    case var errno:
                        throw new LinuxException(errno, "link", $"{path} {target}/{path}");
                }
            }
            switch (stat.Type)
            {
                case UnixMode.Regular:
                    using (var input = LinuxFile.Open(Source, path, OpenFlags.ReadOnly | OpenFlags.NoFollow))
                    using (var output = LinuxFile.Open(_target, path, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, 0x180))
                        LinuxFile.CopyContents(input, output, stat.Size, cancellationToken);
                    break;
                case UnixMode.Symlink:
                    LinuxFile.Symlink(LinuxFile.ReadLink(Source, path), _target, path);
                    break;
                default:
                    LinuxFile.Mknod(_target, path, stat.Mode, stat.RdevMajor, stat.RdevMinor);
                    break;
            }
            CopyMetadata(path, stat);
        }

        private void CopyMetadata(string path, in FileStat stat)
        {
            LinuxFile.Lchown(_target, path, stat.Uid, stat.Gid);
            if (!stat.IsSymlink)
                LinuxFile.Chmod(_target, path, stat.Permissions);
            foreach (var attribute in Xattr.List(Source, path))
            {
                // The marks of the overlay the source belongs to say nothing about the target; other failures are let pass (spec 06 §2.4).
                if (attribute.StartsWith("trusted.overlay.", StringComparison.Ordinal) || attribute.StartsWith("user.overlay.", StringComparison.Ordinal))
                    continue;
                if (Xattr.Get(Source, path, attribute) is { } value)
                    _ = Xattr.TrySet(_target, path, attribute, value);
            }
            LinuxFile.SetTimes(_target, path, stat.Atime, stat.Mtime);
        }

        /// <summary>The file the nearest lower directory has at a path, unless it is deleted there.</summary>
        private bool TryFindBelow(string path, out FileStat stat)
        {
            stat = default;
            foreach (var directory in _below)
            {
                var errno = LinuxFile.TryOpenResolved(directory, path, OpenFlags.PathOnly | OpenFlags.NoFollow, 0, ResolveFlags.Beneath, out var file);
                if (errno is Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP or Errno.EXDEV)
                    continue;
                if (errno != Errno.None)
                    throw new LinuxException(errno, "open", path);
                using (file)
                    stat = LinuxFile.Stat(file!);
                return !stat.IsOverlayWhiteout;
            }
            return false;
        }
    }
}
