using BuildKit.Linux;

namespace BuildKit.Storage.Snapshots;

/// <summary>
/// Copies a tree with owners, modes, times, hard links, devices and extended attributes (failures of the last are
/// ignored). A directory's mtime is set before its content is copied, as the reference does (spec 06 §2.2).
/// </summary>
internal static class TreeCopy
{
    public static void Copy(string source, string target, CancellationToken cancellationToken)
    {
        CopyAttributes(source, target, LinuxFile.Lstat(source));
        CopyContent(source, target, new Dictionary<(ulong, ulong), string>(), cancellationToken);
    }

    private static void CopyContent(string source, string target, Dictionary<(ulong, ulong), string> links, CancellationToken cancellationToken)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(source))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var from = source + "/" + entry.Name;
            var to = target + "/" + entry.Name;
            var stat = LinuxFile.Lstat(from);
            if (!stat.IsDirectory && stat.Links > 1)
            {
                if (links.TryGetValue((stat.Device, stat.Inode), out var first))
                {
                    LinuxFile.Link(LinuxFile.Cwd, first, LinuxFile.Cwd, to);
                    continue;
                }

                links.Add((stat.Device, stat.Inode), to);
            }

            if (stat.IsDirectory)
            {
                LinuxFile.Mkdir(to, stat.Permissions);
                CopyAttributes(from, to, stat);
                CopyContent(from, to, links, cancellationToken);
                continue;
            }

            if (stat.IsSymlink)
                LinuxFile.Symlink(LinuxFile.ReadLink(from), LinuxFile.Cwd, to);
            else if (stat.IsRegular)
                CopyFile(from, to, stat, cancellationToken);
            else
                LinuxFile.Mknod(LinuxFile.Cwd, to, stat.Mode, stat.RdevMajor, stat.RdevMinor);
            CopyAttributes(from, to, stat);
        }
    }

    private static void CopyFile(string from, string to, in FileStat stat, CancellationToken cancellationToken)
    {
        using var source = LinuxFile.Open(from, OpenFlags.ReadOnly);
        using var target = LinuxFile.Open(to, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, stat.Permissions);
        LinuxFile.CopyContents(source, target, stat.Size, cancellationToken);
    }

    // chown clears setuid bits and capabilities: the mode and the attributes come after it.
    private static void CopyAttributes(string from, string to, in FileStat stat)
    {
        LinuxFile.Lchown(to, stat.Uid, stat.Gid);
        if (!stat.IsSymlink)
            LinuxFile.Chmod(to, stat.Permissions);
        foreach (var name in Xattr.List(from))
        {
            if (Xattr.Get(from, name) is { } value)
                _ = Xattr.TrySet(to, name, value);
        }

        LinuxFile.SetTimes(to, stat.Atime, stat.Mtime);
    }
}
