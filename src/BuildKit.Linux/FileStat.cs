namespace BuildKit.Linux;

/// <summary>What the kernel tells about a file, times in full resolution.</summary>
public readonly record struct FileStat
{
    /// <summary><c>st_mode</c>: type and permission bits (<see cref="UnixMode"/>).</summary>
    public required uint Mode { get; init; }

    /// <summary>Owner.</summary>
    public required uint Uid { get; init; }

    /// <summary>Group.</summary>
    public required uint Gid { get; init; }

    /// <summary>Size in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>Disk usage in units of 512 bytes.</summary>
    public required long Blocks { get; init; }

    /// <summary>Number of names of the inode.</summary>
    public required uint Links { get; init; }

    /// <summary>Inode number, unique on <see cref="Device"/>.</summary>
    public required ulong Inode { get; init; }

    /// <summary>Device the inode is on: major in the upper, minor in the lower 32 bits.</summary>
    public required ulong Device { get; init; }

    /// <summary>Major number of a device file, otherwise 0.</summary>
    public required uint RdevMajor { get; init; }

    /// <summary>Minor number of a device file, otherwise 0.</summary>
    public required uint RdevMinor { get; init; }

    /// <summary>Last access.</summary>
    public required UnixTime Atime { get; init; }

    /// <summary>Last change of content.</summary>
    public required UnixTime Mtime { get; init; }

    /// <summary>Last change of the inode.</summary>
    public required UnixTime Ctime { get; init; }

    /// <summary>The type bits of <see cref="Mode"/>.</summary>
    public uint Type => Mode & UnixMode.TypeMask;

    /// <summary>The 12 permission bits of <see cref="Mode"/>.</summary>
    public uint Permissions => Mode & UnixMode.PermissionMask;

    public bool IsDirectory => Type == UnixMode.Directory;

    public bool IsRegular => Type == UnixMode.Regular;

    public bool IsSymlink => Type == UnixMode.Symlink;

    public bool IsDevice => Type is UnixMode.Char or UnixMode.Block;

    /// <summary>A char device 0:0: the way overlayfs marks a deleted name.</summary>
    public bool IsOverlayWhiteout => Type == UnixMode.Char && RdevMajor == 0 && RdevMinor == 0;

    /// <summary>Whether both describe one inode.</summary>
    public bool IsSameInode(in FileStat other) => Inode == other.Inode && Device == other.Device;
}
