namespace BuildKit.Linux;

/// <summary>Numbers of a mounted file system (<c>statfs(2)</c>).</summary>
/// <param name="Type">Magic number, for example 0x794c7630 for overlay.</param>
/// <param name="TotalBytes">Size.</param>
/// <param name="FreeBytes">Free, what is reserved for root included (<c>f_bfree</c>).</param>
/// <param name="AvailableBytes">Free for everybody (<c>f_bavail</c>).</param>
public readonly record struct FileSystemStatistics(long Type, long TotalBytes, long FreeBytes, long AvailableBytes)
{
    public const long Overlay = 0x794C7630;
    public const long Tmpfs = 0x01021994;
    public const long Fuse = 0x65735546;
    public const long Cgroup2 = 0x63677270;

    /// <summary>Reads the numbers of the file system a path is on.</summary>
    public static unsafe FileSystemStatistics Of(string path)
    {
        Span<byte> stack = stackalloc byte[NativePath.StackSize];
        var native = new NativePath(path, stack);
        NativeMethods.StatFsBuffer buffer;
        fixed (byte* p = native)
        {
            if (NativeMethods.statfs(p, &buffer) != 0)
                throw LinuxException.Last("statfs", path);
        }
        return new FileSystemStatistics(
            buffer.Type, (long)buffer.Blocks * buffer.BlockSize, (long)buffer.BlocksFree * buffer.BlockSize, (long)buffer.BlocksAvailable * buffer.BlockSize);
    }
}
