using System.Runtime.CompilerServices;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>
/// Files by (directory handle, path). A relative path starts at the handle; <see cref="Cwd"/> stands for the
/// process' directory and is meant for absolute paths only. Nothing here follows a symlink in the last
/// component unless it says so. Every failure is a <see cref="LinuxException"/>.
/// </summary>
public static unsafe partial class LinuxFile
{
    /// <summary>The handle to give with absolute paths.</summary>
    public static SafeFileHandle Cwd { get; } = new(NativeMethods.AtFdCwd, ownsHandle: false);

    /// <summary>lstat of an absolute path.</summary>
    public static FileStat Lstat(string path) => Lstat(Cwd, path);

    /// <summary>lstat.</summary>
    public static FileStat Lstat(SafeFileHandle dir, string path) => Stat(dir, path, NativeMethods.AtSymlinkNoFollow, "lstat");

    /// <summary>stat of an absolute path, following symlinks.</summary>
    public static FileStat Stat(string path) => Stat(Cwd, path, 0, "stat");

    /// <summary>stat of an open file.</summary>
    public static FileStat Stat(SafeFileHandle file) => Stat(file, "", NativeMethods.AtEmptyPath, "fstat");

    /// <summary>lstat; false when the path or a parent does not exist (ENOENT, ENOTDIR).</summary>
    public static bool TryLstat(string path, out FileStat stat) => TryLstat(Cwd, path, out stat);

    /// <summary>lstat; false when the path or a parent does not exist (ENOENT, ENOTDIR).</summary>
    public static bool TryLstat(SafeFileHandle dir, string path, out FileStat stat)
    {
        var errno = StatCore(dir, path, NativeMethods.AtSymlinkNoFollow, out stat);
        return errno switch
        {
            Errno.None => true,
            Errno.ENOENT or Errno.ENOTDIR => false,
            _ => throw new LinuxException(errno, "lstat", path),
        };
    }

    /// <summary>lstat returning the error number instead of throwing.</summary>
    public static Errno LstatErrno(SafeFileHandle dir, string path, out FileStat stat) =>
        StatCore(dir, path, NativeMethods.AtSymlinkNoFollow, out stat);

    private static FileStat Stat(SafeFileHandle dir, string path, int flags, string operation)
    {
        var errno = StatCore(dir, path, flags, out var stat);
        return errno == Errno.None ? stat : throw new LinuxException(errno, operation, path);
    }

    [SkipLocalsInit]
    private static Errno StatCore(SafeFileHandle dir, string path, int flags, out FileStat stat)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        NativeMethods.Statx x;
        fixed (byte* p = native)
        {
            if (NativeMethods.statx(dir, p, flags, NativeMethods.StatxBasic, &x) != 0)
            {
                stat = default;
                return LinuxException.LastErrno;
            }
        }
        stat = new FileStat
        {
            Mode = x.Mode,
            Uid = x.Uid,
            Gid = x.Gid,
            Size = (long)x.Size,
            Blocks = (long)x.Blocks,
            Links = x.Links,
            Inode = x.Inode,
            Device = ((ulong)x.DevMajor << 32) | x.DevMinor,
            RdevMajor = x.RdevMajor,
            RdevMinor = x.RdevMinor,
            Atime = new UnixTime(x.Atime.Seconds, (int)x.Atime.Nanoseconds),
            Mtime = new UnixTime(x.Mtime.Seconds, (int)x.Mtime.Nanoseconds),
            Ctime = new UnixTime(x.Ctime.Seconds, (int)x.Ctime.Nanoseconds),
        };
        return Errno.None;
    }

    /// <summary>Opens a file; see <see cref="OpenFlags"/>. Permissions of a new file are <paramref name="mode"/> less the umask.</summary>
    public static SafeFileHandle Open(SafeFileHandle dir, string path, int flags, uint mode = 0)
    {
        var errno = TryOpen(dir, path, flags, mode, out var handle);
        return errno == Errno.None ? handle! : throw new LinuxException(errno, "open", path);
    }

    /// <summary>Opens an absolute path.</summary>
    public static SafeFileHandle Open(string path, int flags, uint mode = 0) => Open(Cwd, path, flags, mode);

    /// <summary>Opens a directory for reading its names and for *at calls; follows a symlink.</summary>
    public static SafeFileHandle OpenDirectory(string path) => Open(Cwd, path, OpenFlags.ReadOnly | OpenFlags.Directory);

    /// <summary>Opens a file, returning the error number instead of throwing.</summary>
    public static Errno TryOpen(SafeFileHandle dir, string path, int flags, uint mode, out SafeFileHandle? handle)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
        {
            while (true)
            {
                var fd = NativeMethods.openat(dir, p, flags | OpenFlags.CloseOnExec, mode);
                if (fd >= 0)
                {
                    handle = new SafeFileHandle(fd, ownsHandle: true);
                    return Errno.None;
                }
                if (LinuxException.LastErrno != Errno.EINTR)
                {
                    handle = null;
                    return LinuxException.LastErrno;
                }
            }
        }
    }

    /// <summary>
    /// <c>openat2(2)</c>: with <see cref="ResolveFlags.InRoot"/> the handle is the root of the resolution and no
    /// symlink or <c>..</c> leads out of it.
    /// </summary>
    public static Errno TryOpenResolved(SafeFileHandle root, string path, int flags, uint mode, ResolveFlags resolve, out SafeFileHandle? handle)
    {
        const nint OpenAt2 = 437;
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        var how = new NativeMethods.OpenHow
        {
            Flags = (uint)(flags | OpenFlags.CloseOnExec),
            Mode = (flags & OpenFlags.Create) != 0 ? mode : 0,
            Resolve = (ulong)resolve,
        };
        handle = null;
        var added = false;
        try
        {
            root.DangerousAddRef(ref added);
            fixed (byte* p = native)
            {
                while (true)
                {
                    var fd = NativeMethods.syscall(OpenAt2, root.DangerousGetHandle(), (nint)p, (nint)(&how), sizeof(NativeMethods.OpenHow), 0);
                    if (fd >= 0)
                    {
                        handle = new SafeFileHandle(fd, ownsHandle: true);
                        return Errno.None;
                    }
                    // EAGAIN: the kernel could not prove that a concurrent rename did not move ".." out of the root.
                    if (LinuxException.LastErrno is not (Errno.EINTR or Errno.EAGAIN))
                        return LinuxException.LastErrno;
                }
            }
        }
        finally
        {
            if (added)
                root.DangerousRelease();
        }
    }

    /// <summary>The text of a symlink.</summary>
    public static string ReadLink(SafeFileHandle dir, string path)
    {
        var errno = TryReadLink(dir, path, out var target);
        return errno == Errno.None ? target! : throw new LinuxException(errno, "readlink", path);
    }

    /// <summary>The text of a symlink; EINVAL when the path is something else.</summary>
    [SkipLocalsInit]
    public static Errno TryReadLink(SafeFileHandle dir, string path, out string? target)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        Span<byte> buffer = stackalloc byte[4096];
        fixed (byte* p = native)
        fixed (byte* b = buffer)
        {
            var length = NativeMethods.readlinkat(dir, p, b, (nuint)buffer.Length);
            target = length < 0 ? null : LinuxText.Decode(buffer[..(int)length]);
            return length < 0 ? LinuxException.LastErrno : Errno.None;
        }
    }

    /// <summary>The text of a symlink at an absolute path.</summary>
    public static string ReadLink(string path) => ReadLink(Cwd, path);

    /// <summary>Whether the process may access a path (0 = exists, 1 execute, 2 write, 4 read), following symlinks.</summary>
    public static bool Access(string path, int mode)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        fixed (byte* p = native)
            return NativeMethods.faccessat(Cwd, p, mode, 0) == 0;
    }

    /// <summary>A path under <c>/proc/self/fd</c> that names <paramref name="name"/> in an open directory, for calls without an *at form.</summary>
    public static string ProcPath(SafeFileHandle dir, string name)
    {
        var fd = dir.DangerousGetHandle();
        if (fd == NativeMethods.AtFdCwd)
            return name;
        return name.Length == 0 ? $"/proc/self/fd/{fd}" : $"/proc/self/fd/{fd}/{name}";
    }
}
