using BuildKit.Linux;
using BuildKit.Linux.Patterns;

namespace BuildKit.Session.FileSync;

/// <summary>Checks what a sender announces: clean relative paths, walk order, parents first, links only to earlier files.</summary>
internal sealed class EntryValidator
{
    private readonly List<(string Path, string LastName)> _directories = [("", "")];
    private readonly HashSet<string> _files = new(StringComparer.Ordinal);

    /// <summary>Checks the next entry.</summary>
    /// <exception cref="FileSyncException">It must not be applied.</exception>
    public void Check(SyncStat stat)
    {
        var path = stat.Path;
        if (!UnixPath.IsClean(path) || path.Contains('\0', StringComparison.Ordinal))
            throw new FileSyncException($"unclean path {path}: invalid argument");
        if (path[0] == '/')
            throw new FileSyncException($"absolute path {path}: invalid argument");
        if (path is "." or ".." || path.StartsWith("../", StringComparison.Ordinal))
            throw new FileSyncException($"escape check {path}: invalid argument");
        CheckOrder(path, stat.IsDirectory);
        CheckLink(path, stat);
    }

    private void CheckOrder(string path, bool isDirectory)
    {
        var slash = path.LastIndexOf('/');
        var parent = slash < 0 ? "" : path[..slash];
        var name = path[(slash + 1)..];
        while (PathOrder.Compare(_directories[^1].Path, parent) > 0)
            _directories.RemoveAt(_directories.Count - 1);
        var (known, last) = _directories[^1];
        if (known != parent || LinuxText.CompareBytes(last, name) >= 0)
            throw new FileSyncException($"changes out of order: {Quote(path)} {Quote(UnixPath.Join(known, last))}");
        _directories[^1] = (known, name);
        if (isDirectory)
            _directories.Add((path, ""));
    }

    private void CheckLink(string path, SyncStat stat)
    {
        if (stat.IsDirectory || stat.IsSymlink)
            return;
        if (stat.Linkname.Length == 0)
            _files.Add(path);
        else if (!_files.Contains(stat.Linkname))
            throw new FileSyncException($"invalid link {path} to unknown path: {Quote(stat.Linkname)}");
    }

    private static string Quote(string text) => '"' + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + '"';
}
