using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Results;

/// <summary>A file or directory in a result, as the gateway reports it (Go mode bits).</summary>
public sealed record RefFileInfo(string Path, FileStat Stat, string LinkTarget);

/// <summary>Reads files of results. Paths are resolved inside the result: no link leads out of it.</summary>
public static class RefFiles
{
    /// <summary>Largest file handed out, in bytes: what fits in one message.</summary>
    public const int LargestFile = 16 << 20;

    /// <summary>Reads a file, or <paramref name="length"/> bytes of it from <paramref name="offset"/>.</summary>
    /// <exception cref="IOException"><c>open PATH: no such file or directory</c>, and the like.</exception>
    public static Task<byte[]> ReadFileAsync(
        IImmutableRef? reference, string path, long offset, long? length, string temporaryDirectory, CancellationToken cancellationToken) =>
        WithRootAsync(reference, temporaryDirectory, root => Read(root, path, offset, length), () => throw NotFound("open", path), cancellationToken);

    /// <summary>Entries of a directory, sorted by name.</summary>
    public static Task<IReadOnlyList<RefFileInfo>> ReadDirAsync(
        IImmutableRef? reference, string path, string includePattern, string temporaryDirectory, CancellationToken cancellationToken) =>
        WithRootAsync<IReadOnlyList<RefFileInfo>>(
            reference, temporaryDirectory, root => List(root, path, includePattern), () => throw NotFound("open", path), cancellationToken);

    /// <summary>One file or directory.</summary>
    public static Task<RefFileInfo> StatFileAsync(IImmutableRef? reference, string path, string temporaryDirectory, CancellationToken cancellationToken) =>
        WithRootAsync(reference, temporaryDirectory, root => Stat(root, path), () => throw NotFound("lstat", path), cancellationToken);

    private static async Task<T> WithRootAsync<T>(
        IImmutableRef? reference, string temporaryDirectory, Func<string, T> read, Func<T> whenEmpty, CancellationToken cancellationToken)
    {
        if (reference is null)
            return whenEmpty();
        var mountable = await reference.MountAsync(readOnly: true, cancellationToken);
        await using var lease = await mountable.AcquireAsync(cancellationToken);
        if (lease.Mounts is [{ Type: "bind" } bind])
            return read(bind.Source);
        LinuxFile.MkdirAll(temporaryDirectory, Convert.ToUInt32("700", 8));
        var target = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        Directory.CreateDirectory(target);
        try
        {
            Mounts.MountAll([.. lease.Mounts.Select(mount => new MountPoint(mount.Type, mount.Source, mount.Options))], target);
            return read(target);
        }
        finally
        {
            Mounts.UnmountAll(target);
            Directory.Delete(target);
        }
    }

    private static byte[] Read(string root, string path, long offset, long? length)
    {
        using var rootHandle = LinuxFile.Open(root, OpenFlags.PathOnly | OpenFlags.Directory);
        var errno = RootedPath.TryOpen(rootHandle, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking, out var file);
        if (errno != Errno.None)
            throw new IOException($"open {path}: {ErrnoText.Of(errno)}");
        using (file)
        {
            var stat = LinuxFile.Stat(file!);
            if (stat.IsDirectory)
                throw new IOException($"read {path}: is a directory");
            var count = Math.Max(0, Math.Min(length ?? long.MaxValue, stat.Size - offset));
            if (count > LargestFile)
                throw new IOException($"read {path}: the file has {count} bytes, at most {LargestFile} can be read at once");
            var bytes = new byte[count];
            var read = 0;
            while (read < bytes.Length)
            {
                var got = RandomAccess.Read(file!, bytes.AsSpan(read), offset + read);
                if (got == 0)
                    break;
                read += got;
            }
            return read == bytes.Length ? bytes : bytes[..read];
        }
    }

    private static List<RefFileInfo> List(string root, string path, string includePattern)
    {
        var directory = RootedPath.Resolve(root, path, followLast: true);
        if (!LinuxFile.TryLstat(directory, out var stat))
            throw NotFound("open", path);
        if (!stat.IsDirectory)
            throw new IOException($"readdirent {path}: not a directory");
        var matcher = includePattern.Length > 0 ? new PatternMatcher([includePattern]) : null;
        var entries = new List<RefFileInfo>();
        foreach (var entry in LinuxDirectory.ReadSorted(directory))
            if (matcher is null || matcher.MatchesOrParentMatches(entry.Name))
                entries.Add(Describe(directory + "/" + entry.Name, entry.Name));
        return entries;
    }

    private static RefFileInfo Stat(string root, string path)
    {
        var real = RootedPath.Resolve(root, path, followLast: true);
        return LinuxFile.TryLstat(real, out _) ? Describe(real, Path.GetFileName(path.TrimEnd('/'))) : throw NotFound("lstat", path);
    }

    private static RefFileInfo Describe(string real, string name)
    {
        var stat = LinuxFile.Lstat(real);
        return new RefFileInfo(name, stat, stat.IsSymlink ? LinuxFile.ReadLink(real) : "");
    }

    private static IOException NotFound(string operation, string path) => new($"{operation} {path}: no such file or directory");
}
