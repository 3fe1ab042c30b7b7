using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>The C library, one to one. Paths are NUL-terminated bytes.</summary>
internal static unsafe partial class NativeMethods
{
    private const string C = "libc";

    internal const int AtFdCwd = -100;
    internal const int AtSymlinkNoFollow = 0x100;
    internal const int AtRemoveDir = 0x200;
    internal const int AtSymlinkFollow = 0x400;
    internal const int AtEmptyPath = 0x1000;
    internal const uint StatxBasic = 0x7FF;

    [LibraryImport(C, SetLastError = true)]
    internal static partial int statx(SafeFileHandle dir, byte* path, int flags, uint mask, Statx* result);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint syscall(nint number, nint a, nint b, nint c, nint d, nint e);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int openat(SafeFileHandle dir, byte* path, int flags, uint mode);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int mkdirat(SafeFileHandle dir, byte* path, uint mode);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int mknodat(SafeFileHandle dir, byte* path, uint mode, ulong device);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int symlinkat(byte* target, SafeFileHandle dir, byte* path);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int linkat(SafeFileHandle oldDir, byte* oldPath, SafeFileHandle newDir, byte* newPath, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int unlinkat(SafeFileHandle dir, byte* path, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int renameat2(SafeFileHandle oldDir, byte* oldPath, SafeFileHandle newDir, byte* newPath, uint flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint readlinkat(SafeFileHandle dir, byte* path, byte* buffer, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int fchownat(SafeFileHandle dir, byte* path, uint uid, uint gid, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int fchown(SafeFileHandle file, uint uid, uint gid);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int fchmodat(SafeFileHandle dir, byte* path, uint mode, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int fchmod(SafeFileHandle file, uint mode);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int utimensat(SafeFileHandle dir, byte* path, Timespec* times, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int futimens(SafeFileHandle file, Timespec* times);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint read(SafeFileHandle file, byte* buffer, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint write(SafeFileHandle file, byte* buffer, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint pwrite(SafeFileHandle file, byte* buffer, nuint size, long offset);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int faccessat(SafeFileHandle dir, byte* path, int mode, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint lgetxattr(byte* path, byte* name, byte* value, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int lsetxattr(byte* path, byte* name, byte* value, nuint size, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint llistxattr(byte* path, byte* names, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int lremovexattr(byte* path, byte* name);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint fgetxattr(SafeFileHandle file, byte* name, byte* value, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint flistxattr(SafeFileHandle file, byte* names, nuint size);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int mount(byte* source, byte* target, byte* type, nuint flags, byte* data);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int umount2(byte* target, int flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int statfs(byte* path, StatFsBuffer* result);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int ioctl(SafeFileHandle file, nuint request, nint argument);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint copy_file_range(SafeFileHandle source, long* sourceOffset, SafeFileHandle target, long* targetOffset, nuint length, uint flags);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int ftruncate(SafeFileHandle file, long length);

    [LibraryImport(C, SetLastError = true)]
    internal static partial long lseek(SafeFileHandle file, long offset, int whence);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int flock(SafeFileHandle file, int operation);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int fsync(SafeFileHandle file);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int syncfs(SafeFileHandle file);

    [LibraryImport(C)]
    internal static partial uint geteuid();

    [LibraryImport(C)]
    internal static partial uint getegid();

    [LibraryImport(C)]
    internal static partial uint umask(uint mask);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int kill(int process, int signal);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int prctl(int option, nuint a, nuint b, nuint c, nuint d);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int unshare(int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static unsafe partial int execve(byte* path, byte** arguments, byte** environment);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int dup2(int from, int to);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint signal(int number, nint handler);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int setns(SafeFileHandle file, int type);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int chdir(byte* path);

    [LibraryImport(C, SetLastError = true)]
    internal static partial nint sysconf(int name);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int prlimit(int process, int resource, ResourceLimit* newLimit, ResourceLimit* oldLimit);

    [LibraryImport(C, SetLastError = true)]
    internal static partial int waitpid(int process, int* status, int options);

    [StructLayout(LayoutKind.Sequential)]
    internal struct Timespec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct StatxTimestamp
    {
        public long Seconds;
        public uint Nanoseconds;
        private int _reserved;
    }

    [StructLayout(LayoutKind.Sequential, Size = 256)]
    internal struct Statx
    {
        public uint Mask;
        public uint BlockSize;
        public ulong Attributes;
        public uint Links;
        public uint Uid;
        public uint Gid;
        public ushort Mode;
        private ushort _spare;
        public ulong Inode;
        public ulong Size;
        public ulong Blocks;
        public ulong AttributesMask;
        public StatxTimestamp Atime;
        public StatxTimestamp Btime;
        public StatxTimestamp Ctime;
        public StatxTimestamp Mtime;
        public uint RdevMajor;
        public uint RdevMinor;
        public uint DevMajor;
        public uint DevMinor;
    }

    [StructLayout(LayoutKind.Sequential, Size = 120)]
    internal struct StatFsBuffer
    {
        public nint Type;
        public nint BlockSize;
        public ulong Blocks;
        public ulong BlocksFree;
        public ulong BlocksAvailable;
        public ulong Files;
        public ulong FilesFree;
        public ulong FsId;
        public nint NameLength;
        public nint FragmentSize;
        public nint Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct OpenHow
    {
        public ulong Flags;
        public ulong Mode;
        public ulong Resolve;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct ResourceLimit
    {
        public ulong Soft;
        public ulong Hard;
    }
}

/// <summary>A path as NUL-terminated bytes for the length of a call; short ones live on the stack.</summary>
internal ref struct NativePath
{
    internal const int StackSize = 512;

    private readonly Span<byte> _bytes;

    /// <summary>Encodes a path; <paramref name="stack"/> is used when it is large enough.</summary>
    /// <exception cref="LinuxException">EINVAL: the path holds a NUL.</exception>
    internal NativePath(string path, Span<byte> stack)
    {
        var needed = (path.Length * 3) + 1;
        _bytes = needed <= stack.Length ? stack : new byte[needed];
        var length = LinuxText.Encode(path, _bytes);
        if (_bytes[..length].Contains((byte)0))
            throw new LinuxException(Errno.EINVAL, "encode path", path.Replace("\0", "\\0", StringComparison.Ordinal));
        _bytes[length] = 0;
    }

    /// <summary>The first byte, for <c>fixed</c>.</summary>
    public readonly ref byte GetPinnableReference() => ref MemoryMarshal.GetReference(_bytes);
}
