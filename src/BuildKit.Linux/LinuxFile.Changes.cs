using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

public static unsafe partial class LinuxFile
{
    /// <summary>Makes a directory; permissions are <paramref name="mode"/> less the umask.</summary>
    public static void Mkdir(SafeFileHandle dir, string path, uint mode) => Check(TryMkdir(dir, path, mode), "mkdir", path);

    /// <summary>Makes a directory at an absolute path.</summary>
    public static void Mkdir(string path, uint mode) => Mkdir(Cwd, path, mode);

    /// <summary>Makes a directory, returning the error number.</summary>
    public static Errno TryMkdir(SafeFileHandle dir, string path, uint mode)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
            return NativeMethods.mkdirat(dir, p, mode) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Makes a directory and all missing parents, each with <paramref name="mode"/> less the umask.</summary>
    public static void MkdirAll(string path, uint mode)
    {
        var errno = TryMkdir(Cwd, path, mode);
        if (errno == Errno.ENOENT && Path.GetDirectoryName(path) is { Length: > 0 } parent)
        {
            MkdirAll(parent, mode);
            errno = TryMkdir(Cwd, path, mode);
        }
        if (errno == Errno.EEXIST && Stat(path).IsDirectory)
            return;
        Check(errno, "mkdir", path);
    }

    /// <summary>Makes a fifo, socket, device or empty regular file; <paramref name="mode"/> holds type and permissions.</summary>
    public static void Mknod(SafeFileHandle dir, string path, uint mode, uint major = 0, uint minor = 0) =>
        Check(TryMknod(dir, path, mode, major, minor), "mknod", path);

    /// <summary>mknod returning the error number.</summary>
    public static Errno TryMknod(SafeFileHandle dir, string path, uint mode, uint major, uint minor)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
            return NativeMethods.mknodat(dir, p, mode, MakeDevice(major, minor)) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Makes a symlink with any text.</summary>
    public static void Symlink(string target, SafeFileHandle dir, string path)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var nativeTarget = new NativePath(target, stack2);
        fixed (byte* p = native)
        fixed (byte* t = nativeTarget)
        {
            if (NativeMethods.symlinkat(t, dir, p) != 0)
                throw LinuxException.Last("symlink", $"{target} {path}");
        }
    }

    /// <summary>Makes a hard link; a symlink is linked itself, not its target.</summary>
    public static void Link(SafeFileHandle oldDir, string oldPath, SafeFileHandle newDir, string newPath) =>
        Check(TryLink(oldDir, oldPath, newDir, newPath), "link", $"{oldPath} {newPath}");

    /// <summary>Makes a hard link, returning the error number.</summary>
    public static Errno TryLink(SafeFileHandle oldDir, string oldPath, SafeFileHandle newDir, string newPath)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var oldNative = new NativePath(oldPath, stack);
        var newNative = new NativePath(newPath, stack2);
        fixed (byte* o = oldNative)
        fixed (byte* n = newNative)
            return NativeMethods.linkat(oldDir, o, newDir, n, 0) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Removes a name that is no directory.</summary>
    public static void Unlink(SafeFileHandle dir, string path) => Check(TryUnlink(dir, path), "unlink", path);

    /// <summary>unlink returning the error number.</summary>
    public static Errno TryUnlink(SafeFileHandle dir, string path) => Remove(dir, path, 0);

    /// <summary>Removes an empty directory.</summary>
    public static void Rmdir(SafeFileHandle dir, string path) => Check(Remove(dir, path, NativeMethods.AtRemoveDir), "rmdir", path);

    /// <summary>rmdir returning the error number.</summary>
    public static Errno TryRmdir(SafeFileHandle dir, string path) => Remove(dir, path, NativeMethods.AtRemoveDir);

    private static Errno Remove(SafeFileHandle dir, string path, int flags)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
            return NativeMethods.unlinkat(dir, p, flags) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Renames; an existing target is replaced unless <paramref name="noReplace"/> (then EEXIST).</summary>
    public static void Rename(SafeFileHandle oldDir, string oldPath, SafeFileHandle newDir, string newPath, bool noReplace = false)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        Span<byte> stack2 = stackalloc byte[NativePath.StackSize];
        var oldNative = new NativePath(oldPath, stack);
        var newNative = new NativePath(newPath, stack2);
        fixed (byte* o = oldNative)
        fixed (byte* n = newNative)
        {
            if (NativeMethods.renameat2(oldDir, o, newDir, n, noReplace ? 1u : 0u) != 0)
                throw LinuxException.Last("rename", $"{oldPath} {newPath}");
        }
    }

    /// <summary>Renames between absolute paths.</summary>
    public static void Rename(string oldPath, string newPath, bool noReplace = false) => Rename(Cwd, oldPath, Cwd, newPath, noReplace);

    /// <summary>Sets owner and group; clears setuid, setgid and file capabilities of non-directories.</summary>
    public static void Lchown(SafeFileHandle dir, string path, uint uid, uint gid)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
        {
            if (NativeMethods.fchownat(dir, p, uid, gid, NativeMethods.AtSymlinkNoFollow) != 0)
                throw LinuxException.Last("lchown", path);
        }
    }

    /// <summary>Sets owner and group of an absolute path.</summary>
    public static void Lchown(string path, uint uid, uint gid) => Lchown(Cwd, path, uid, gid);

    /// <summary>Sets owner and group of an open file; clears setuid, setgid and file capabilities.</summary>
    public static void Chown(SafeFileHandle file, uint uid, uint gid)
    {
        if (NativeMethods.fchown(file, uid, gid) != 0)
            throw LinuxException.Last("fchown", "");
    }

    /// <summary>Sets the 12 permission bits. Follows a symlink: callers check that the path is none.</summary>
    public static void Chmod(SafeFileHandle dir, string path, uint permissions)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
        {
            if (NativeMethods.fchmodat(dir, p, permissions & UnixMode.PermissionMask, 0) != 0)
                throw LinuxException.Last("chmod", path);
        }
    }

    /// <summary>Sets the 12 permission bits of an absolute path, following a symlink.</summary>
    public static void Chmod(string path, uint permissions) => Chmod(Cwd, path, permissions);

    /// <summary>Sets the 12 permission bits of an open file.</summary>
    public static void Chmod(SafeFileHandle file, uint permissions)
    {
        if (NativeMethods.fchmod(file, permissions & UnixMode.PermissionMask) != 0)
            throw LinuxException.Last("fchmod", "");
    }

    /// <summary>Sets access and modification time; null leaves a time as it is.</summary>
    public static void SetTimes(SafeFileHandle dir, string path, UnixTime? atime, UnixTime? mtime) =>
        Check(TrySetTimes(dir, path, atime, mtime), "utimensat", path);

    /// <summary>Sets the times of an absolute path.</summary>
    public static void SetTimes(string path, UnixTime? atime, UnixTime? mtime) => SetTimes(Cwd, path, atime, mtime);

    /// <summary>Sets times, returning the error number.</summary>
    public static Errno TrySetTimes(SafeFileHandle dir, string path, UnixTime? atime, UnixTime? mtime)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var times = stackalloc NativeMethods.Timespec[2] { ToNative(atime), ToNative(mtime) };
        fixed (byte* p = native)
            return NativeMethods.utimensat(dir, p, times, NativeMethods.AtSymlinkNoFollow) == 0 ? Errno.None : LinuxException.LastErrno;
    }

    /// <summary>Sets access and modification time of an open file; null leaves a time as it is.</summary>
    public static void SetTimes(SafeFileHandle file, UnixTime? atime, UnixTime? mtime)
    {
        var times = stackalloc NativeMethods.Timespec[2] { ToNative(atime), ToNative(mtime) };
        if (NativeMethods.futimens(file, times) != 0)
            throw LinuxException.Last("futimens", "");
    }

    /// <summary>Writes all bytes at an offset of an open file.</summary>
    public static void Write(SafeFileHandle file, ReadOnlySpan<byte> bytes, long offset)
    {
        fixed (byte* start = bytes)
        {
            var done = 0;
            while (done < bytes.Length)
            {
                var written = NativeMethods.pwrite(file, start + done, (nuint)(bytes.Length - done), offset + done);
                if (written >= 0)
                    done += (int)written;
                else if (LinuxException.LastErrno != Errno.EINTR)
                    throw LinuxException.Last("pwrite", "");
            }
        }
    }

    /// <summary>Cuts or extends an open file.</summary>
    public static void Truncate(SafeFileHandle file, long length)
    {
        if (NativeMethods.ftruncate(file, length) != 0)
            throw LinuxException.Last("ftruncate", "");
    }

    /// <summary>Writes an open file, or the names of an open directory, to disk.</summary>
    public static void Sync(SafeFileHandle file)
    {
        if (NativeMethods.fsync(file) != 0)
            throw LinuxException.Last("fsync", "");
    }

    /// <summary>Writes everything of the file system an open file is on to disk.</summary>
    public static void SyncFileSystem(SafeFileHandle file)
    {
        if (NativeMethods.syncfs(file) != 0)
            throw LinuxException.Last("syncfs", "");
    }

    /// <summary>Takes an exclusive (or shared) lock on an open file; false when someone else holds it.</summary>
    public static bool TryLock(SafeFileHandle file, bool shared = false)
    {
        const int Shared = 1, Exclusive = 2, NonBlocking = 4;
        if (NativeMethods.flock(file, (shared ? Shared : Exclusive) | NonBlocking) == 0)
            return true;
        return LinuxException.LastErrno == Errno.EAGAIN ? false : throw LinuxException.Last("flock", "");
    }

    /// <summary>Releases a lock.</summary>
    public static void Unlock(SafeFileHandle file)
    {
        if (NativeMethods.flock(file, 8) != 0)
            throw LinuxException.Last("flock", "");
    }

    /// <summary>The kernel's encoding of a device number.</summary>
    public static ulong MakeDevice(uint major, uint minor) =>
        ((ulong)(major & 0xFFF) << 8) | ((ulong)(major & ~0xFFFu) << 32) | (minor & 0xFF) | ((ulong)(minor & ~0xFFu) << 12);

    private static NativeMethods.Timespec ToNative(UnixTime? time)
    {
        const nint Omit = 0x3FFFFFFE;
        return time is { } t ? new() { Seconds = (nint)t.Seconds, Nanoseconds = t.Nanoseconds } : new() { Nanoseconds = Omit };
    }

    internal static void Check(Errno errno, string operation, string path)
    {
        if (errno != Errno.None)
            throw new LinuxException(errno, operation, path);
    }
}
