using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Protocol.Pb;

namespace BuildKit.Worker.FileOps;

/// <summary>Copies a file or a tree like <c>cp -a</c> does, with the options of a copy action (spec 02 §6.7 step 7).</summary>
internal sealed class TreeCopier
{
    private readonly FileTree _source;
    private readonly FileTree _dest;
    private readonly FileOwner? _owner;
    private readonly UnixTime? _time;
    private readonly ModeString? _modeString;
    private readonly uint? _mode;
    private readonly bool _replace;
    private readonly PatternMatcher? _include;
    private readonly PatternMatcher? _exclude;
    private readonly Dictionary<(ulong Device, ulong Inode), string> _links = [];
    private readonly List<Directory> _parents = [];

    internal TreeCopier(FileTree source, FileTree dest, FileActionCopy action, FileOwner? owner)
    {
        _source = source;
        _dest = dest;
        _owner = owner;
        _time = FileOperations.Time(action.Timestamp);
        if (action.ModeStr.Length > 0)
            _modeString = ModeString.Parse(action.ModeStr);
        else if (action.Mode != -1)
            _mode = (uint)action.Mode & UnixMode.PermissionMask;
        _replace = action.AlwaysReplaceExistingDestPaths;
        _include = action.IncludePatterns.Count > 0 ? new PatternMatcher(action.IncludePatterns) : null;
        _exclude = action.ExcludePatterns.Count > 0 ? new PatternMatcher(action.ExcludePatterns) : null;
    }

    /// <summary>Copies one source to its final place. Directories above the target exist.</summary>
    internal void Copy(string from, string to, CancellationToken cancellationToken) =>
        CopyEntry(from, "", to, parentIsNew: false, default, default, cancellationToken);

    private void CopyEntry(string from, string below, string to, bool parentIsNew, MatchInfo parentInclude, MatchInfo parentExclude, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var stat = LinuxFile.Lstat(_source.Root, FileTree.Name(from));
        FileStat existing = default;
        var exists = !parentIsNew && _dest.TryLstat(to, out existing);
        var isRoot = below.Length == 0;
        var wanted = true;
        MatchInfo include = default;
        MatchInfo exclude = default;
        if (!isRoot)
        {
            wanted = _include is null || _include.Matches(below, parentInclude, out include);
            if (_exclude is not null && _exclude.Matches(below, parentExclude, out exclude))
                wanted = false;
        }
        if (wanted)
        {
            if (_replace && exists && !(stat.IsDirectory && existing.IsDirectory))
            {
                LinuxDirectory.RemoveTree(_dest.Root, to);
                exists = false;
            }
            MakeParents();
        }
        if (stat.IsDirectory)
        {
            var created = CopyDirectory(from, below, to, stat, wanted, include, exclude, cancellationToken);
            if (wanted && (created || !isRoot))
                CopyMetadata(from, to, stat);
            else if (wanted && exists)
                CopyTimes(to, stat);
            return;
        }
        if (!wanted)
            return;
        if (exists)
        {
            if (existing.IsDirectory)
                throw new IOException($"cannot replace to directory {_dest.Full(to)} with file");
            LinuxFile.Unlink(_dest.Root, to);
        }
        CopyFile(from, to, stat, cancellationToken);
    }

    /// <summary>Copies what is in a directory; true when the target was made.</summary>
    private bool CopyDirectory(string from, string below, string to, in FileStat stat, bool wanted, MatchInfo include, MatchInfo exclude, CancellationToken cancellationToken)
    {
        var created = wanted && MakeDirectory(to, stat);
        _parents.Add(new Directory(from, to, stat) { Exists = wanted });
        foreach (var entry in LinuxDirectory.ReadSorted(_source.Root, FileTree.Name(from)))
            CopyEntry(FileTree.Join(from, entry.Name), FileTree.Join(below, entry.Name), FileTree.Join(to, entry.Name), created, include, exclude, cancellationToken);
        _parents.RemoveAt(_parents.Count - 1);
        return created;
    }

    /// <summary>Makes the directories above a wanted entry that did not match themselves.</summary>
    private void MakeParents()
    {
        foreach (var parent in _parents)
        {
            if (parent.Exists)
                continue;
            parent.Exists = true;
            MakeDirectory(parent.To, parent.Stat);
            CopyMetadata(parent.From, parent.To, parent.Stat);
        }
    }

    private bool MakeDirectory(string to, in FileStat stat)
    {
        if (_dest.TryLstat(to, out var existing))
            return existing.IsDirectory ? false : throw new IOException($"cannot copy to non-directory: {_dest.Full(to)}");
        var errno = LinuxFile.TryMkdir(_dest.Root, FileTree.Name(to), stat.Permissions);
        return errno == Errno.None ? true : throw new LinuxException(errno, "mkdir", "/" + to);
    }

    private void CopyFile(string from, string to, in FileStat stat, CancellationToken cancellationToken)
    {
        switch (stat.Type)
        {
            case UnixMode.Regular:
                if (stat.Links > 1)
                {
                    if (_links.TryGetValue((stat.Device, stat.Inode), out var first) && LinuxFile.TryLink(_dest.Root, first, _dest.Root, to) == Errno.None)
                        break;
                    _links[(stat.Device, stat.Inode)] = to;
                }
                CopyRegular(from, to, stat, cancellationToken);
                return;
            case UnixMode.Symlink:
                LinuxFile.Symlink(LinuxFile.ReadLink(_source.Root, from), _dest.Root, to);
                break;
            default:
                LinuxFile.Mknod(_dest.Root, to, stat.Mode, stat.RdevMajor, stat.RdevMinor);
                break;
        }
        CopyMetadata(from, to, stat);
    }

    /// <summary>Copies a regular file. All of it through the open files: that is quicker than finding them by name for each call.</summary>
    private void CopyRegular(string from, string to, in FileStat stat, CancellationToken cancellationToken)
    {
        using var input = LinuxFile.Open(_source.Root, from, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        using var output = LinuxFile.Open(_dest.Root, to, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, 0x180);
        try
        {
            LinuxFile.CopyContents(input, output, stat.Size, cancellationToken);
            LinuxFile.Chown(output, _owner?.Uid ?? stat.Uid, _owner?.Gid ?? stat.Gid);
            LinuxFile.Chmod(output, PermissionsOf(stat));
            LinuxFile.SetTimes(output, _time ?? stat.Atime, _time ?? stat.Mtime);
            if (Xattr.Any(input))
                CopyAttributes(from, to);
        }
        catch (LinuxException failure) when (failure.Path.Length == 0)
        {
            throw new LinuxException(failure.Errno, failure.Operation, to);
        }
    }

    private void CopyMetadata(string from, string to, in FileStat stat)
    {
        var name = FileTree.Name(to);
        LinuxFile.Lchown(_dest.Root, name, _owner?.Uid ?? stat.Uid, _owner?.Gid ?? stat.Gid);
        if (!stat.IsSymlink)
            LinuxFile.Chmod(_dest.Root, name, PermissionsOf(stat));
        CopyTimes(to, stat);
        CopyAttributes(from, to);
    }

    private uint PermissionsOf(in FileStat stat) => _modeString?.Apply(stat) ?? _mode ?? stat.Permissions;

    // Attributes are copied as far as the file system takes them (spec: failures ignored).
    private void CopyAttributes(string from, string to)
    {
        foreach (var attribute in Xattr.List(_source.Root, FileTree.Name(from)))
        {
            // Overlay bookkeeping of a tree that is read without its overlay must not take effect in the copy.
            var isBookkeeping = attribute.StartsWith("trusted.overlay.", StringComparison.Ordinal) || attribute.StartsWith("user.overlay.", StringComparison.Ordinal);
            if (!isBookkeeping && Xattr.Get(_source.Root, FileTree.Name(from), attribute) is { } value)
                _ = Xattr.TrySet(_dest.Root, FileTree.Name(to), attribute, value);
        }
    }

    private void CopyTimes(string to, in FileStat stat) =>
        LinuxFile.SetTimes(_dest.Root, FileTree.Name(to), _time ?? stat.Atime, _time ?? stat.Mtime);

    private sealed class Directory(string from, string to, FileStat stat)
    {
        internal string From { get; } = from;

        internal string To { get; } = to;

        internal FileStat Stat { get; } = stat;

        internal bool Exists { get; set; }
    }
}
