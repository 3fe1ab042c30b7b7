using System.Globalization;
using System.Security.Cryptography;
using BuildKit.Linux;
using BuildKit.Oci;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Session.FileSync;

/// <summary>Applies changes to a <see cref="DestinationTree"/> (spec 01 §5.5 receiver step 3). One caller at a time.</summary>
internal sealed class TreeWriter(DestinationTree tree, ReceiveOptions options)
{
    private const int MaxOpenFiles = 128;
    private const uint OwnerWrite = 0x80;

    private readonly List<(string Path, long ModTime)> _newDirectories = [];
    private readonly Dictionary<string, IncomingFile> _unmade = new(StringComparer.Ordinal);
    private readonly Queue<IncomingFile> _open = new();
    private int _openCount;

    /// <summary>Removes an entry with all it holds.</summary>
    public void Delete(string path)
    {
        tree.Forget(path);
        var parent = tree.Parent(path, out var name);
        RemoveTree(parent, name, path);
        options.Observer?.OnChange(ChangeKind.Delete, path, null, default);
    }

    /// <summary>
    /// Makes an entry what the sender says. A regular file is made when its first content comes: the result then
    /// takes the content; for everything else it is null.
    /// </summary>
    public IncomingFile? Apply(ChangeKind kind, SyncStat stat, SyncStat mapped, uint id)
    {
        if (HasContent(mapped))
        {
            var file = new IncomingFile(kind, stat, mapped, id);
            _unmade.Add(stat.Path, file);
            return file;
        }
        var path = stat.Path;
        var parent = tree.Parent(path, out var name);
        var exists = Exists(kind, parent, name, path, out var existing);
        if (exists && existing.IsDirectory && stat.IsDirectory)
        {
            WriteMetadata(parent, name, path, mapped);
            return null;
        }
        var made = exists ? TemporaryName(parent) : name;
        Create(parent, made, path, mapped, ref parent);
        if (stat.IsDirectory)
            _newDirectories.Add((path, mapped.ModTime));
        WriteMetadata(parent, made, path, mapped);
        if (exists)
            Replace(parent, made, name, path, stat, existing, isLink: mapped.Linkname.Length > 0 && !mapped.IsSymlink);
        Report(kind, stat, null);
        return null;
    }

    /// <summary>Appends content to a file.</summary>
    public void Write(IncomingFile file, ReadOnlySpan<byte> content)
    {
        var handle = Open(file);
        LinuxFile.Write(handle, content, file.Length);
        file.Length += content.Length;
        if (options.Observer is { } observer)
            (file.Hash ??= observer.StartHash(file.Stat)).AppendData(content);
    }

    /// <summary>The content of a file is complete.</summary>
    public void Complete(IncomingFile file)
    {
        var time = UnixTime.FromNanoseconds(file.Mapped.ModTime);
        using (var handle = Open(file))
            LinuxFile.SetTimes(handle, time, time);
        file.Handle = null;
        _openCount--;
        if (file.RestoreMode is { } mode)
            LinuxFile.Chmod(tree.Parent(file.Stat.Path, out var name), name, mode);
        Report(ChangeKind.Add, file.Stat, file.Hash);
        file.Hash = null;
    }

    /// <summary>Gives the directories made here their time, which later entries in them changed.</summary>
    public void RestoreDirectoryTimes()
    {
        foreach (var (path, modTime) in _newDirectories)
        {
            var parent = tree.Parent(path, out var name);
            SetTime(parent, name, path, modTime);
        }
    }

    /// <summary>Closes what a failed transfer left open.</summary>
    public void Abandon()
    {
        foreach (var file in _open)
        {
            file.Handle?.Dispose();
            file.Hash?.Dispose();
        }
    }

    private static bool HasContent(SyncStat stat) =>
        !stat.IsDirectory && (stat.Mode & (GoFileMode.Device | GoFileMode.NamedPipe)) == 0 && !stat.IsSymlink && stat.Linkname.Length == 0;

    private bool Exists(ChangeKind kind, SafeFileHandle parent, string name, string path, out FileStat existing)
    {
        var errno = LinuxFile.LstatErrno(parent, name, out existing);
        if (errno is not (Errno.None or Errno.ENOENT))
            throw tree.Error(errno, "lstat", path);
        if (errno != Errno.None && kind == ChangeKind.Modify)
            throw new FileSyncException("modify/rm: " + tree.Error(errno, "lstat", path).Message);
        return errno == Errno.None;
    }

    // Puts what was made under a temporary name in the place of what is there.
    private void Replace(SafeFileHandle parent, string made, string name, string path, SyncStat stat, in FileStat existing, bool isLink)
    {
        if (existing.IsDirectory != stat.IsDirectory)
        {
            tree.Forget(path);
            RemoveTree(parent, name, path);
        }
        LinuxFile.Rename(parent, made, parent, name);
        // Two names of one inode are not renamed onto each other.
        if (isLink)
            _ = LinuxFile.TryUnlink(parent, made);
    }

    // Where nothing is in the way, which is nearly always, making the file is all it takes.
    private SafeFileHandle Make(IncomingFile file)
    {
        var flags = OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.WriteOnly | OpenFlags.NoFollow;
        var path = file.Stat.Path;
        var permissions = GoFileMode.ToUnix(file.Mapped.Mode) & UnixMode.AccessMask;
        var parent = tree.Parent(path, out var name);
        var made = name;
        var replaces = false;
        FileStat existing = default;
        SafeFileHandle? handle = null;
        var errno = file.Kind == ChangeKind.Modify ? Errno.EEXIST : LinuxFile.TryOpen(parent, name, flags, permissions, out handle);
        if (errno == Errno.EEXIST)
        {
            replaces = Exists(file.Kind, parent, name, path, out existing);
            if (replaces)
                made = TemporaryName(parent);
            errno = LinuxFile.TryOpen(parent, made, flags, permissions, out handle);
        }
        Check(errno, "open", path);
        Track(file, handle!);
        WriteAttributes(parent, made, file.Mapped);
        LinuxFile.Chown(handle!, file.Mapped.Uid, file.Mapped.Gid);
        LinuxFile.Chmod(handle!, GoFileMode.ToUnix(file.Mapped.Mode));
        if (replaces)
            Replace(parent, made, name, path, file.Stat, existing, isLink: false);
        return handle!;
    }

    private SafeFileHandle Open(IncomingFile file)
    {
        if (file.Handle is { } open)
            return open;
        return _unmade.Remove(file.Stat.Path) ? Make(file) : Reopen(file);
    }

    private void Create(SafeFileHandle parent, string name, string path, SyncStat stat, ref SafeFileHandle current)
    {
        var permissions = GoFileMode.ToUnix(stat.Mode) & UnixMode.PermissionMask;
        if (stat.IsDirectory)
        {
            Check(LinuxFile.TryMkdir(parent, name, permissions & UnixMode.AccessMask), "mkdir", path);
        }
        else if ((stat.Mode & (GoFileMode.Device | GoFileMode.NamedPipe)) != 0)
        {
            var type = (stat.Mode & GoFileMode.CharDevice) != 0 ? UnixMode.Char
                : (stat.Mode & GoFileMode.NamedPipe) != 0 ? UnixMode.Fifo : UnixMode.Block;
            Check(LinuxFile.TryMknod(parent, name, type | permissions, (uint)stat.DevMajor, (uint)stat.DevMinor), "mknod", path);
        }
        else if (stat.IsSymlink)
        {
            LinuxFile.Symlink(stat.Linkname, parent, name);
        }
        else
        {
            if (_unmade.TryGetValue(stat.Linkname, out var target))
                _ = Open(target);
            Link(stat.Linkname, path, name, ref current);
        }
    }

    // Opening the target's directory may close handles on the way to ours, so it gets its own.
    private void Link(string target, string path, string name, ref SafeFileHandle current)
    {
        _ = tree.Parent(target, out var targetName);
        var slash = target.LastIndexOf('/');
        var own = path.LastIndexOf('/');
        if (slash == own && string.CompareOrdinal(target, 0, path, 0, Math.Max(0, own)) == 0)
        {
            current = tree.Parent(path, out _);
            Check(LinuxFile.TryLink(current, targetName, current, name), "link", path);
            return;
        }
        var targetParent = tree.Parent(target, out _);
        var errno = LinuxFile.TryOpen(targetParent, ".", OpenFlags.PathOnly | OpenFlags.Directory, 0, out var kept);
        Check(errno, "open", target);
        using (kept)
        {
            current = tree.Parent(path, out _);
            Check(LinuxFile.TryLink(kept!, targetName, current, name), "link", path);
        }
    }

    private void WriteMetadata(SafeFileHandle parent, string name, string path, SyncStat stat)
    {
        WriteAttributes(parent, name, stat);
        LinuxFile.Lchown(parent, name, stat.Uid, stat.Gid);
        if (!stat.IsSymlink)
            LinuxFile.Chmod(parent, name, GoFileMode.ToUnix(stat.Mode));
        SetTime(parent, name, path, stat.ModTime);
    }

    // Best effort, as everywhere: a file system or a user without the right to set them is no failure.
    private static void WriteAttributes(SafeFileHandle parent, string name, SyncStat stat)
    {
        foreach (var (xattr, value) in stat.Xattrs ?? [])
            _ = Xattr.TrySet(parent, name, xattr, value);
    }

    private void SetTime(SafeFileHandle parent, string name, string path, long modTime)
    {
        var time = UnixTime.FromNanoseconds(modTime);
        Check(LinuxFile.TrySetTimes(parent, name, time, time), "utimensat", path);
    }

    // Room is made first: the queue may still hold an earlier turn of the same file.
    private void Track(IncomingFile file, SafeFileHandle handle)
    {
        while (_open.TryPeek(out var oldest) && (_openCount >= MaxOpenFiles || oldest.Handle is null))
        {
            _open.Dequeue();
            if (oldest.Handle is null)
                continue;
            oldest.Handle.Dispose();
            oldest.Handle = null;
            _openCount--;
        }
        file.Handle = handle;
        _open.Enqueue(file);
        _openCount++;
    }

    private SafeFileHandle Reopen(IncomingFile file)
    {
        var path = file.Stat.Path;
        var parent = tree.Parent(path, out var name);
        var flags = OpenFlags.WriteOnly | OpenFlags.NoFollow;
        var errno = LinuxFile.TryOpen(parent, name, flags, 0, out var handle);
        if (errno == Errno.EACCES)
        {
            var permissions = LinuxFile.Lstat(parent, name).Permissions;
            LinuxFile.Chmod(parent, name, permissions | OwnerWrite);
            file.RestoreMode = permissions;
            errno = LinuxFile.TryOpen(parent, name, flags, 0, out handle);
        }
        Check(errno, "open", path);
        Track(file, handle!);
        return handle!;
    }

    private void RemoveTree(SafeFileHandle parent, string name, string path)
    {
        try
        {
            LinuxDirectory.RemoveTree(parent, name);
        }
        catch (LinuxException failure)
        {
            throw new LinuxException(failure.Errno, "failed to remove", $"{tree.RootPath}/{path}");
        }
    }

    private static string TemporaryName(SafeFileHandle parent)
    {
        while (true)
        {
            var name = ".tmp." + RandomNumberGenerator.GetInt32(1_000_000_000).ToString("D9", CultureInfo.InvariantCulture);
            if (!LinuxFile.TryLstat(parent, name, out _))
                return name;
        }
    }

    private void Report(ChangeKind kind, SyncStat stat, IncrementalHash? started)
    {
        if (options.Observer is not { } observer)
            return;
        using var hash = started ?? observer.StartHash(stat);
        Span<byte> value = stackalloc byte[SHA256.HashSizeInBytes];
        hash.GetHashAndReset(value);
        observer.OnChange(kind, stat.Path, stat, Digest.FromSha256(value));
    }

    private void Check(Errno errno, string operation, string path)
    {
        if (errno != Errno.None)
            throw tree.Error(errno, operation, path);
    }
}

/// <summary>A regular file whose content is on its way.</summary>
internal sealed class IncomingFile(ChangeKind kind, SyncStat stat, SyncStat mapped, uint id)
{
    public ChangeKind Kind { get; } = kind;

    public SyncStat Stat { get; } = stat;

    public SyncStat Mapped { get; } = mapped;

    public uint Id { get; } = id;

    public SafeFileHandle? Handle { get; set; }

    public long Length { get; set; }

    public IncrementalHash? Hash { get; set; }

    public uint? RestoreMode { get; set; }
}
