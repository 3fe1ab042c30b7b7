using BuildKit.Linux;

namespace BuildKit.Session.FileSync;

/// <summary>A tree that can be sent. Walking and opening may go on at the same time.</summary>
public interface IFileTree
{
    /// <summary>
    /// The entries in walk order (<see cref="BuildKit.Linux.Patterns.PathOrder"/>), the root left out, each after its
    /// parent; only the first name of an inode without <see cref="SyncStat.Linkname"/>. Blocks while it reads.
    /// </summary>
    IEnumerable<SyncStat> Walk(CancellationToken cancellationToken);

    /// <summary>The content of a regular entry, or null when it cannot be had any more.</summary>
    Stream? Open(string path);
}

/// <summary>Several trees, each in a directory of its own (one per platform, spec 01 §5.6).</summary>
/// <param name="directories">The directories by their entry; an absolute link target inside gets the directory in front.</param>
public sealed class SubdirectoryTree(IEnumerable<(SyncStat Directory, IFileTree Tree)> directories) : IFileTree
{
    private readonly List<(SyncStat Directory, IFileTree Tree)> _directories =
        [.. directories.OrderBy(static pair => pair.Directory.Path, LinuxText.ByteOrder)];

    /// <inheritdoc/>
    public IEnumerable<SyncStat> Walk(CancellationToken cancellationToken)
    {
        foreach (var (directory, tree) in _directories)
        {
            yield return directory;
            var prefix = directory.Path + "/";
            foreach (var stat in tree.Walk(cancellationToken))
            {
                var linkname = stat.Linkname;
                if (linkname.Length > 0 && !stat.IsSymlink)
                    linkname = prefix + linkname;
                else if (linkname.StartsWith('/'))
                    linkname = Linux.Patterns.UnixPath.Clean("/" + prefix + linkname);
                yield return stat with { Path = prefix + stat.Path, Linkname = linkname };
            }
        }
    }

    /// <inheritdoc/>
    public Stream? Open(string path)
    {
        var slash = path.IndexOf('/', StringComparison.Ordinal);
        if (slash < 0)
            return null;
        foreach (var (directory, tree) in _directories)
        {
            if (path.AsSpan(0, slash).SequenceEqual(directory.Path))
                return tree.Open(path[(slash + 1)..]);
        }
        return null;
    }
}
