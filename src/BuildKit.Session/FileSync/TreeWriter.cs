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
    /// Makes an entry what the sender says. For a regular file that is a name without content yet: the result then
    /// takes the content; for everything else it is null.
    /// </summary>
    public IncomingFile? Apply(ChangeKind kind, SyncStat stat, SyncStat mapped, uint id)
    {
        var path = stat.Path;
        var parent = tree.Parent(path, out var name);
        var errno = LinuxFile.LstatErrno(parent, name, out var existing);
        if (errno is not (Errno.None or Errno.ENOENT))
            throw tree.Error(errno, "lstat", path);
        var exists = errno == Errno.None;
        if (!exists && kind == ChangeKind.Modify)
            throw new FileSyncException("modify/rm: " + tree.Error(errno, "lstat", path).Message);
        if (exists && existing.IsDirectory && stat.IsDirectory)
        {
            WriteMetadata(parent, name, path, mapped, setTime: true);
            return null;
        }
        var made = exists ? TemporaryName(parent) : name;
        var isFile = Create(parent, made, path, mapped, out var handle, ref parent);
        if (stat.IsDirectory)
            _newDirectories.Add((path, mapped.ModTime));
        // The time of a regular file is set when its content is complete.
        WriteMetadata(parent, made, path, mapped, setTime: !isFile);
        if (exists)
        {
            if (existing.IsDirectory != stat.IsDirectory)
            {
                tree.Forget(path);
                RemoveTree(parent, name, path);
            }
            LinuxFile.Rename(parent, made, parent, name);
            // Two names of one inode are not renamed onto each other.
            if (mapped.Linkname.Length > 0 && !mapped.IsSymlink)
                _ = LinuxFile.TryUnlink(parent, made);
        }
        if (!isFile)
        {
            Report(kind, stat, null);
            return null;
        }
        var file = new IncomingFile(stat, mapped.ModTime, id) { Handle = handle };
        Track(file);
        return file;
    }

    /// <summary>Appends content to a file.</summary>
    public void Write(IncomingFile file, ReadOnlySpan<byte> content)
    {
        file.Handle ??= Reopen(file);
        RandomAccess.Write(file.Handle, content, file.Length);
        file.Length += content.Length;
        if (options.Observer is { } observer)
            (file.Hash ??= observer.StartHash(file.Stat)).AppendData(content);
    }

    /// <summary>The content of a file is complete.</summary>
    public void Complete(IncomingFile file)
    {
        if (file.Handle is not null)
            _openCount--;
        file.Handle?.Dispose();
        file.Handle = null;
        file.IsComplete = true;
        var parent = tree.Parent(file.Stat.Path, out var name);
        if (file.RestoreMode is { } mode)
            LinuxFile.Chmod(parent, name, mode);
        SetTime(parent, name, file.Stat.Path, file.ModTime);
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

    private bool Create(SafeFileHandle parent, string name, string path, SyncStat stat, out SafeFileHandle? handle, ref SafeFileHandle current)
    {
        handle = null;
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
        else if (stat.Linkname.Length > 0)
        {
            Link(stat.Linkname, path, name, ref current);
        }
        else
        {
            var flags = OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.WriteOnly | OpenFlags.NoFollow;
            Check(LinuxFile.TryOpen(parent, name, flags, permissions & UnixMode.AccessMask, out handle), "open", path);
            return true;
        }
        return false;
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

    private void WriteMetadata(SafeFileHandle parent, string name, string path, SyncStat stat, bool setTime)
    {
        // Best effort, as everywhere: a file system or a user without the right to set them is no failure.
        foreach (var (xattr, value) in stat.Xattrs ?? [])
            _ = Xattr.TrySet(parent, name, xattr, value);
        LinuxFile.Lchown(parent, name, stat.Uid, stat.Gid);
        if (!stat.IsSymlink)
            LinuxFile.Chmod(parent, name, GoFileMode.ToUnix(stat.Mode));
        if (setTime)
            SetTime(parent, name, path, stat.ModTime);
    }

    private void SetTime(SafeFileHandle parent, string name, string path, long modTime)
    {
        var time = UnixTime.FromNanoseconds(modTime);
        Check(LinuxFile.TrySetTimes(parent, name, time, time), "utimensat", path);
    }

    private void Track(IncomingFile file)
    {
        _open.Enqueue(file);
        _openCount++;
        while (_open.TryPeek(out var oldest) && (_openCount > MaxOpenFiles || oldest.Handle is null))
        {
            _open.Dequeue();
            if (oldest.Handle is null)
                continue;
            oldest.Handle.Dispose();
            oldest.Handle = null;
            _openCount--;
        }
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
        file.Handle = handle;
        Track(file);
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
internal sealed class IncomingFile(SyncStat stat, long modTime, uint id)
{
    public SyncStat Stat { get; } = stat;

    public long ModTime { get; } = modTime;

    public uint Id { get; } = id;

    public SafeFileHandle? Handle { get; set; }

    public long Length { get; set; }

    public IncrementalHash? Hash { get; set; }

    public uint? RestoreMode { get; set; }

    public bool IsComplete { get; set; }
}
