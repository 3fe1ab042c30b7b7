using BuildKit.Linux;
using BuildKit.Protocol.Pb;
using BuildKit.Storage.Layers;

namespace BuildKit.Worker.FileOps;

/// <summary>
/// File actions on mounted trees (spec 02 §6). Every path is resolved inside its tree: links are followed but never
/// lead out. Umask 0 is assumed nowhere; modes are set exactly.
/// </summary>
public static class FileOperations
{
    /// <summary>Makes a directory; an existing path without makeParents is left as it is.</summary>
    public static void Mkdir(string root, FileActionMkDir action, FileOwner? owner)
    {
        using var tree = new FileTree(root);
        var path = tree.Resolve(GoPath.Clean("/" + action.Path));
        var permissions = (uint)action.Mode & UnixMode.AccessMask;
        if (action.MakeParents)
            tree.MakeDirectories(path, permissions, owner, Time(action.Timestamp));
        else if (tree.LstatErrno(path, out _) != Errno.None)
            tree.MakeDirectory(path, permissions, owner, Time(action.Timestamp));
    }

    /// <summary>Makes or overwrites a file; an existing one keeps its mode.</summary>
    public static async Task MkfileAsync(string root, FileActionMkFile action, FileOwner? owner, CancellationToken cancellationToken)
    {
        using var tree = new FileTree(root);
        var path = tree.Resolve(GoPath.Clean("/" + action.Path));
        var permissions = (uint)action.Mode & UnixMode.AccessMask;
        var errno = LinuxFile.TryOpen(tree.Root, FileTree.Name(path), OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, permissions, out var file);
        var isNew = errno == Errno.None;
        if (errno == Errno.EEXIST)
            errno = LinuxFile.TryOpen(tree.Root, FileTree.Name(path), OpenFlags.WriteOnly | OpenFlags.Truncate | OpenFlags.NoFollow, 0, out file);
        if (errno != Errno.None)
            throw new LinuxException(errno, "open", "/" + path);
        using (file)
        {
            await RandomAccess.WriteAsync(file!, action.Data.Memory, 0, cancellationToken).ConfigureAwait(false);
            if (isNew)
                LinuxFile.Chmod(file!, permissions);
        }
        tree.Own(path, owner);
        tree.SetTime(path, Time(action.Timestamp));
    }

    /// <summary>Makes a symlink; an existing path is an error.</summary>
    public static void Symlink(string root, FileActionSymlink action, FileOwner? owner)
    {
        using var tree = new FileTree(root);
        var path = tree.Resolve(GoPath.Clean("/" + action.Newpath), followLast: false);
        try
        {
            LinuxFile.Symlink(action.Oldpath, tree.Root, FileTree.Name(path));
        }
        catch (LinuxException e)
        {
            throw new LinuxException(e.Errno, "symlink", $"{action.Oldpath} {tree.Full(path)}");
        }
        tree.Own(path, owner);
        tree.SetTime(path, Time(action.Timestamp));
    }

    /// <summary>Removes a file or a tree, or every match of a pattern.</summary>
    public static void Remove(string root, FileActionRm action)
    {
        using var tree = new FileTree(root);
        if (!action.AllowWildcard)
        {
            RemovePath(tree, action.Path, action.AllowNotFound);
            return;
        }
        foreach (var match in Wildcards.Expand(tree, CopySource.CleanPath(action.Path), followLinks: false))
            RemovePath(tree, match, action.AllowNotFound);
    }

    /// <summary>Copies files, directories or archives from one tree into another.</summary>
    public static Task CopyAsync(string destRoot, string srcRoot, FileActionCopy action, FileOwner? owner, CancellationToken cancellationToken) =>
        new CopySource(destRoot, srcRoot, action, owner).RunAsync(cancellationToken);

    /// <summary>The time an action asks for: nanoseconds since 1970, -1 for none.</summary>
    internal static UnixTime? Time(long timestamp) => timestamp == -1 ? null : UnixTime.FromNanoseconds(timestamp);

    private static void RemovePath(FileTree tree, string path, bool allowNotFound)
    {
        var clean = GoPath.Clean(path);
        var slash = clean.LastIndexOf('/') + 1;
        var name = clean[slash..];
        if (name is "" or "." or "..")
            throw new IOException("rmPath: invalid empty path");
        var target = FileTree.Join(tree.Resolve(clean[..slash]), name);
        if (!allowNotFound && !tree.TryLstat(tree.Resolve(target), out _))
            throw new LinuxException(Errno.ENOENT, "stat", "/" + target);
        LinuxDirectory.RemoveTree(tree.Root, target);
    }
}
