using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Session.FileSync;

/// <summary>
/// The directory a tree is received into. Every path is opened one component at a time and no component may be a
/// link, so nothing outside the root is ever touched. Not safe for concurrent use.
/// </summary>
internal sealed class DestinationTree : IDisposable
{
    private readonly SafeFileHandle _root;
    private readonly List<(string Path, SafeFileHandle Handle)> _chain = [];

    public DestinationTree(string root)
    {
        RootPath = root;
        _root = LinuxFile.OpenDirectory(root);
    }

    public string RootPath { get; }

    /// <summary>The directory an entry is in, valid until the next call, and the entry's name there.</summary>
    public SafeFileHandle Parent(string path, out string name)
    {
        var slash = path.LastIndexOf('/');
        name = path[(slash + 1)..];
        return Directory(slash < 0 ? "" : path[..slash]);
    }

    /// <summary>Forgets handles of a directory that is replaced or removed.</summary>
    public void Forget(string path)
    {
        while (_chain.Count > 0 && (_chain[^1].Path == path || _chain[^1].Path.StartsWith(path + "/", StringComparison.Ordinal)))
            Pop();
    }

    /// <summary>The text a failed call on an entry is reported with.</summary>
    public LinuxException Error(Errno errno, string operation, string path) => new(errno, operation, $"{RootPath}/{path}");

    public void Dispose()
    {
        while (_chain.Count > 0)
            Pop();
        _root.Dispose();
    }

    private SafeFileHandle Directory(string path)
    {
        while (_chain.Count > 0 && !IsAtOrBelow(path, _chain[^1].Path))
            Pop();
        var start = _chain.Count == 0 ? 0 : _chain[^1].Path.Length + 1;
        while (start < path.Length)
        {
            var end = path.IndexOf('/', start);
            if (end < 0)
                end = path.Length;
            var parent = _chain.Count == 0 ? _root : _chain[^1].Handle;
            var flags = OpenFlags.PathOnly | OpenFlags.Directory | OpenFlags.NoFollow;
            var errno = LinuxFile.TryOpen(parent, path[start..end], flags, 0, out var handle);
            if (errno != Errno.None)
                throw Error(errno, "open", path[..end]);
            _chain.Add((path[..end], handle!));
            start = end + 1;
        }
        return _chain.Count == 0 ? _root : _chain[^1].Handle;
    }

    private static bool IsAtOrBelow(string path, string directory) =>
        path.StartsWith(directory, StringComparison.Ordinal) && (path.Length == directory.Length || path[directory.Length] == '/');

    private void Pop()
    {
        _chain[^1].Handle.Dispose();
        _chain.RemoveAt(_chain.Count - 1);
    }
}
