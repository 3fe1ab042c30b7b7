using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Session.FileSync;

/// <summary>A directory on disk, filtered (spec 01 §5.5).</summary>
public sealed class DirectoryTree : IFileTree
{
    private readonly PathFilter _filter;
    private readonly Func<SyncStat, SyncStat>? _map;
    private readonly bool _readXattrs;

    /// <summary>Offers a directory; follow paths are resolved now.</summary>
    /// <param name="root">The directory; links to it are followed.</param>
    /// <param name="filter">What of it.</param>
    /// <param name="map">Changes entries before they are sent, for example <see cref="ResetOwner"/>.</param>
    /// <param name="readXattrs">Whether extended attributes are read.</param>
    /// <exception cref="LinuxException">The directory cannot be opened.</exception>
    /// <exception cref="PatternSyntaxException">A pattern is malformed.</exception>
    public DirectoryTree(string root, FilterOptions? filter = null, Func<SyncStat, SyncStat>? map = null, bool readXattrs = true)
    {
        using var handle = LinuxFile.OpenDirectory(root);
        RootPath = LinuxFile.ReadLink(LinuxFile.ProcPath(handle, ""));
        filter ??= FilterOptions.All;
        var include = filter.IncludePatterns;
        if (filter.FollowPaths is { } followPaths)
            include = PathFilter.JoinFollowPaths(include, new LinkResolver(handle).Resolve(followPaths));
        _filter = new PathFilter(include, filter.ExcludePatterns);
        _map = map;
        _readXattrs = readXattrs;
    }

    /// <summary>The directory with links resolved.</summary>
    public string RootPath { get; }

    /// <summary>Whether a directory that is only searched for wanted entries may be unreadable.</summary>
    public bool ToleratesUnreadable { get; init; }

    /// <summary>A map that makes root own everything: what a client does with its local directories.</summary>
    public static SyncStat ResetOwner(SyncStat stat) => stat.Uid == 0 && stat.Gid == 0 ? stat : stat with { Uid = 0, Gid = 0 };

    /// <inheritdoc/>
    public IEnumerable<SyncStat> Walk(CancellationToken cancellationToken)
    {
        var walk = _filter.StartWalk();
        var firstNames = new Dictionary<(ulong Device, ulong Inode), string>();
        var frames = new List<Frame>();
        try
        {
            frames.Add(new Frame(LinuxFile.OpenDirectory(RootPath), "", isSent: true));
            while (frames.Count > 0)
            {
                var frame = frames[^1];
                if (!frame.TryNext(out var entry))
                {
                    frame.Dispose();
                    frames.RemoveAt(frames.Count - 1);
                    continue;
                }
                cancellationToken.ThrowIfCancellationRequested();
                var path = frame.Prefix + entry.Name;
                var type = entry.Type;
                if (type == 0)
                {
                    if (!TryLstat(frame, entry.Name, out var probed))
                        continue;
                    type = probed.Type;
                }
                var isDirectory = type == UnixMode.Directory;
                var verdict = walk.Visit(path, isDirectory);
                if (verdict == FilterVerdict.Prune)
                    continue;
                if (verdict == FilterVerdict.Keep)
                {
                    if (!TryLstat(frame, entry.Name, out var found))
                        continue;
                    var stat = Describe(frame.Handle, entry.Name, path, found, firstNames);
                    foreach (var parent in frames)
                    {
                        if (parent.IsSent)
                            continue;
                        parent.IsSent = true;
                        yield return Describe(parent.Handle, "", parent.Prefix[..^1], LinuxFile.Stat(parent.Handle), firstNames);
                    }
                    yield return stat;
                }
                if (isDirectory && TryEnter(frame, entry.Name, path, verdict) is { } child)
                    frames.Add(child);
            }
        }
        finally
        {
            foreach (var frame in frames)
                frame.Dispose();
        }
    }

    /// <inheritdoc/>
    public Stream? Open(string path)
    {
        try
        {
            if (!_filter.AllowsOpening(path))
                return null;
        }
        catch (PatternSyntaxException)
        {
            return null;
        }
        var flags = OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking | OpenFlags.NoControllingTerminal;
        return LinuxFile.TryOpen(LinuxFile.Cwd, $"{RootPath}/{path}", flags, 0, out var handle) == Errno.None
            ? new FileStream(handle!, FileAccess.Read, bufferSize: 0)
            : null;
    }

    private bool TryLstat(Frame frame, string name, out Linux.FileStat stat)
    {
        var errno = LinuxFile.LstatErrno(frame.Handle, name, out stat);
        return errno switch
        {
            Errno.None => true,
            Errno.ENOENT or Errno.ENOTDIR => false,
            _ => throw new LinuxException(errno, "lstat", $"{RootPath}/{frame.Prefix}{name}"),
        };
    }

    private Frame? TryEnter(Frame frame, string name, string path, FilterVerdict verdict)
    {
        var errno = LinuxFile.TryOpen(frame.Handle, name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, 0, out var handle);
        switch (errno)
        {
            case Errno.None:
                return new Frame(handle!, path + "/", isSent: verdict == FilterVerdict.Keep);
            case Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP:
                return null;
            case Errno.EACCES when ToleratesUnreadable && verdict == FilterVerdict.Enter:
                return null;
            default:
                throw new LinuxException(errno, "open", $"{RootPath}/{path}");
        }
    }

    private SyncStat Describe(SafeFileHandle directory, string name, string path, in Linux.FileStat found, Dictionary<(ulong, ulong), string> firstNames)
    {
        var linkname = "";
        if (found.IsSymlink)
        {
            linkname = LinuxFile.ReadLink(directory, name);
        }
        else if (!found.IsDirectory && found.Links > 1 && !firstNames.TryAdd((found.Device, found.Inode), path))
        {
            linkname = firstNames[(found.Device, found.Inode)];
        }
        var stat = new SyncStat
        {
            Path = path,
            Mode = GoFileMode.FromUnix(found.Mode) & ~GoFileMode.Socket,
            Uid = found.Uid,
            Gid = found.Gid,
            Size = found.IsDirectory ? 0 : found.Size,
            ModTime = found.Mtime.ToNanoseconds(),
            Linkname = linkname,
            DevMajor = found.IsDevice ? found.RdevMajor : 0,
            DevMinor = found.IsDevice ? found.RdevMinor : 0,
            Xattrs = _readXattrs ? ReadXattrs(directory, name) : null,
        };
        return _map is null ? stat : _map(stat);
    }

    private static List<KeyValuePair<string, byte[]>>? ReadXattrs(SafeFileHandle directory, string name)
    {
        var names = Xattr.List(directory, name);
        if (names.Count == 0)
            return null;
        var xattrs = new List<KeyValuePair<string, byte[]>>(names.Count);
        foreach (var xattr in names.Order(LinuxText.ByteOrder))
        {
            if (Xattr.Get(LinuxFile.ProcPath(directory, name), xattr) is { } value)
                xattrs.Add(new(xattr, value));
        }
        return xattrs.Count > 0 ? xattrs : null;
    }

    /// <summary>A directory being walked.</summary>
    private sealed class Frame : IDisposable
    {
        private readonly List<DirectoryEntry> _entries;
        private int _next;

        public Frame(SafeFileHandle handle, string prefix, bool isSent)
        {
            Handle = handle;
            Prefix = prefix;
            IsSent = isSent;
            _entries = LinuxDirectory.Read(handle);
            _entries.Sort(static (a, b) => LinuxText.CompareBytes(a.Name, b.Name));
        }

        public SafeFileHandle Handle { get; }

        public string Prefix { get; }

        public bool IsSent { get; set; }

        public bool TryNext(out DirectoryEntry entry)
        {
            if (_next == _entries.Count)
            {
                entry = default;
                return false;
            }
            entry = _entries[_next++];
            return true;
        }

        public void Dispose() => Handle.Dispose();
    }
}
