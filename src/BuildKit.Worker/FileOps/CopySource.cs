using BuildKit.Linux;
using BuildKit.Protocol.Pb;
using BuildKit.Storage.Layers;

namespace BuildKit.Worker.FileOps;

/// <summary>One copy action: finds its sources and where each goes, then copies (spec 02 §6.7).</summary>
internal sealed class CopySource(string destRoot, string srcRoot, FileActionCopy action, FileOwner? owner)
{
    private const uint NewDirectory = 0x1ED;

    private readonly UnixTime? _time = FileOperations.Time(action.Timestamp);

    /// <summary>A clean absolute path that keeps a trailing <c>/</c> or <c>/.</c>.</summary>
    internal static string CleanPath(string path)
    {
        var clean = GoPath.Clean("/" + path);
        if (path.EndsWith("/.", StringComparison.Ordinal))
            return clean == "/" ? "/." : clean + "/.";
        return path.EndsWith('/') && clean != "/" ? clean + "/" : clean;
    }

    internal async Task RunAsync(CancellationToken cancellationToken)
    {
        using var source = new FileTree(srcRoot);
        using var dest = new FileTree(destRoot);
        var destPath = CleanPath(action.Dest);
        if (!action.CreateDestPath)
        {
            var parent = FileTree.Parent(dest.Resolve(action.Dest));
            var errno = dest.LstatErrno(parent, out _);
            if (errno != Errno.None)
                throw new IOException($"failed to stat {action.Dest}: lstat {dest.Full(parent)}: {ErrnoText.Of(errno)}");
        }
        var sources = new List<string> { CleanPath(action.Src) };
        if (action.AllowWildcard)
        {
            sources = Wildcards.Expand(source, sources[0], action.FollowSymlink);
            if (sources.Count == 0 && !action.AllowEmptyWildcard)
                throw new IOException($"{action.Src} not found");
        }
        foreach (var path in sources)
        {
            if (action.AttemptUnpackDockerCompatibility && await UnpackAsync(source, dest, path, destPath, cancellationToken).ConfigureAwait(false))
                continue;
            // Hard links are kept within one source: two matches of a pattern that are links of each other become two files.
            CopyOne(source, dest, new TreeCopier(source, dest, action, owner), path, destPath, cancellationToken);
        }
    }

    private void CopyOne(FileTree source, FileTree dest, TreeCopier copier, string path, string destPath, CancellationToken cancellationToken)
    {
        // A name after the last slash is the target's own; only what is before it must be a directory.
        var slash = destPath.LastIndexOf('/') + 1;
        var directory = destPath[slash..] is "" or "." ? destPath : destPath[..slash];
        var made = dest.MakeDirectories(dest.Resolve(directory), NewDirectory, owner, _time);
        var from = source.Resolve(path, action.FollowSymlink);
        var errno = source.LstatErrno(from, out var stat);
        if (errno != Errno.None)
            throw new LinuxException(errno, "lstat", "/" + from);
        var to = dest.Resolve(GoPath.Clean(destPath));
        var exists = dest.TryLstat(to, out var target);
        if (stat.IsDirectory ? exists && !action.DirCopyContents : exists && target.IsDirectory)
            to = FileTree.Join(to, GoPath.Base(path).Trim('/'));
        var parent = stat.IsDirectory && action.DirCopyContents && !exists ? to : FileTree.Parent(to);
        made.AddRange(dest.MakeDirectories(parent, NewDirectory, owner, _time));
        copier.Copy(from, to, cancellationToken);
        foreach (var path2 in made)
            dest.SetTime(path2, _time);
    }

    /// <summary>Unpacks a source that is a tar archive into dest; false when it is something else.</summary>
    private async ValueTask<bool> UnpackAsync(FileTree source, FileTree dest, string path, string destPath, CancellationToken cancellationToken)
    {
        var errno = RootedPath.TryOpen(source.Root, source.Resolve(path), OpenFlags.ReadOnly | OpenFlags.NonBlocking | OpenFlags.NoFollow, out var opened);
        if (errno != Errno.None)
            return false;
        await using var file = new FileStream(opened!, FileAccess.Read, bufferSize: 0);
        if (!LinuxFile.Stat(opened!).IsRegular || !await ArchiveReader.IsArchiveAsync(file, cancellationToken).ConfigureAwait(false))
            return false;
        file.Position = 0;
        var directory = dest.Resolve(GoPath.Clean(destPath));
        dest.MakeDirectories(directory, NewDirectory, owner, _time);
        await using var archive = await ArchiveReader.OpenAsync(file, cancellationToken).ConfigureAwait(false);
        var root = dest.Full(directory);
        try
        {
            await LayerApply.UnpackAsync(archive, root, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException failure) when (failure.Message.Contains(root, StringComparison.Ordinal))
        {
            // Where the tree is mounted is the daemon's affair.
            throw new IOException(failure.Message.Replace(root, "", StringComparison.Ordinal), failure);
        }
        return true;
    }
}
