using BuildKit.Linux;

namespace BuildKit.Session.FileSync;

/// <summary>One entry of a transferred tree (spec 01 §1.5, message <c>fsutil.types.Stat</c>). Names hold raw bytes (<see cref="LinuxText"/>).</summary>
public sealed record SyncStat
{
    /// <summary>Path from the root of the transfer: clean, relative, '/'-separated.</summary>
    public required string Path { get; init; }

    /// <summary>Type and permission bits as <see cref="GoFileMode"/> numbers them.</summary>
    public uint Mode { get; init; }

    /// <summary>Owner.</summary>
    public uint Uid { get; init; }

    /// <summary>Group.</summary>
    public uint Gid { get; init; }

    /// <summary>Bytes; 0 for directories, the length of the target for symlinks.</summary>
    public long Size { get; init; }

    /// <summary>Last change of content, nanoseconds since 1970.</summary>
    public long ModTime { get; init; }

    /// <summary>Target of a symlink as it stands; for anything else the path of an earlier name of the same inode.</summary>
    public string Linkname { get; init; } = "";

    /// <summary>Major number of a device.</summary>
    public long DevMajor { get; init; }

    /// <summary>Minor number of a device.</summary>
    public long DevMinor { get; init; }

    /// <summary>Extended attributes ordered by name, or null when there are none.</summary>
    public IReadOnlyList<KeyValuePair<string, byte[]>>? Xattrs { get; init; }

    /// <summary>Whether it is a directory.</summary>
    public bool IsDirectory => (Mode & GoFileMode.Directory) != 0;

    /// <summary>Whether it is a symlink.</summary>
    public bool IsSymlink => (Mode & GoFileMode.Symlink) != 0;

    /// <summary>Whether its id may be used in a request: no type bit is set. Holds for hard links too, whose data nobody requests.</summary>
    public bool IsRegular => (Mode & GoFileMode.TypeMask) == 0;
}
