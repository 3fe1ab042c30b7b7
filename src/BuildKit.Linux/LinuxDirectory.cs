using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>One name in a directory.</summary>
/// <param name="Name">The name (see <see cref="LinuxText"/>).</param>
/// <param name="Inode">Inode number.</param>
/// <param name="Type">The <see cref="UnixMode"/> type bits, or 0 when the file system does not say.</param>
public readonly record struct DirectoryEntry(string Name, ulong Inode, uint Type);

/// <summary>Reading, removing and measuring directories.</summary>
public static unsafe class LinuxDirectory
{
    private static readonly nint GetDents64 = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 217 : 61;

    /// <summary>All names but <c>.</c> and <c>..</c>, in the order of the file system, of an open directory.</summary>
    public static List<DirectoryEntry> Read(SafeFileHandle directory)
    {
        const int Size = 32 << 10;
        var entries = new List<DirectoryEntry>();
        var memory = (byte*)NativeMemory.Alloc(Size);
        var added = false;
        try
        {
            directory.DangerousAddRef(ref added);
            while (true)
            {
                var length = (int)NativeMethods.syscall(GetDents64, directory.DangerousGetHandle(), (nint)memory, Size, 0, 0);
                if (length == 0)
                    return entries;
                if (length < 0)
                    throw LinuxException.Last("getdents64", "");
                var rest = new ReadOnlySpan<byte>(memory, length);
                while (!rest.IsEmpty)
                {
                    // struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name NUL-terminated
                    var record = rest[..BinaryPrimitives.ReadUInt16LittleEndian(rest[16..])];
                    rest = rest[record.Length..];
                    var name = record[19..];
                    name = name[..name.IndexOf((byte)0)];
                    if (name is [(byte)'.'] or [(byte)'.', (byte)'.'])
                        continue;
                    entries.Add(new DirectoryEntry(LinuxText.Decode(name), BinaryPrimitives.ReadUInt64LittleEndian(record), (uint)record[18] << 12));
                }
            }
        }
        finally
        {
            if (added)
                directory.DangerousRelease();
            NativeMemory.Free(memory);
        }
    }

    /// <summary>All names of a directory, ordered by their bytes. The last component may not be a symlink.</summary>
    public static List<DirectoryEntry> ReadSorted(SafeFileHandle dir, string path)
    {
        using var handle = LinuxFile.Open(dir, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
        var entries = Read(handle);
        entries.Sort(static (a, b) => LinuxText.CompareBytes(a.Name, b.Name));
        return entries;
    }

    /// <summary>All names of a directory at an absolute path, ordered by their bytes.</summary>
    public static List<DirectoryEntry> ReadSorted(string path) => ReadSorted(LinuxFile.Cwd, path);

    /// <summary>Removes a file or a whole tree; a missing path is fine. Never follows a symlink.</summary>
    public static void RemoveTree(SafeFileHandle dir, string path)
    {
        var errno = LinuxFile.TryUnlink(dir, path);
        if (errno is Errno.None or Errno.ENOENT or Errno.ENOTDIR)
            return;
        if (errno is not (Errno.EISDIR or Errno.EPERM) || !LinuxFile.TryLstat(dir, path, out var stat) || !stat.IsDirectory)
            throw new LinuxException(errno, "unlinkat", path);
        using (var handle = LinuxFile.Open(dir, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow))
        {
            foreach (var entry in Read(handle))
                RemoveTree(handle, entry.Name);
        }
        errno = LinuxFile.TryRmdir(dir, path);
        if (errno is not (Errno.None or Errno.ENOENT))
            throw new LinuxException(errno, "unlinkat", path);
    }

    /// <summary>Removes a file or a whole tree at an absolute path; a missing path is fine.</summary>
    public static void RemoveTree(string path) => RemoveTree(LinuxFile.Cwd, path);

    /// <summary>Disk usage of a tree, its root included: bytes (<c>st_blocks*512</c>) and number of unique inodes.</summary>
    public static (long Bytes, long Inodes) Usage(string path, CancellationToken cancellationToken) =>
        Usage(path, new HashSet<(ulong Device, ulong Inode)>(), cancellationToken);

    /// <summary>Disk usage of a tree without the files whose inodes are given: those belong to another one.</summary>
    public static (long Bytes, long Inodes) Usage(string path, IReadOnlySet<(ulong Device, ulong Inode)> others, CancellationToken cancellationToken)
    {
        var seen = new HashSet<(ulong Device, ulong Inode)>();
        long bytes = 0;
        long inodes = 0;
        if (!LinuxFile.TryLstat(path, out var root))
            return (0, 0);
        Add(LinuxFile.Cwd, path, root);
        return (bytes, inodes);

        void Add(SafeFileHandle dir, string name, in FileStat stat)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (stat.Links > 1 && !stat.IsDirectory && (others.Contains((stat.Device, stat.Inode)) || !seen.Add((stat.Device, stat.Inode))))
                return;
            inodes++;
            bytes += stat.Blocks * 512;
            if (!stat.IsDirectory)
                return;
            using var handle = LinuxFile.Open(dir, name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
            foreach (var entry in Read(handle))
            {
                if (LinuxFile.TryLstat(handle, entry.Name, out var child))
                    Add(handle, entry.Name, child);
            }
        }
    }
}
