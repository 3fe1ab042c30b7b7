using BuildKit.Linux;

namespace BuildKit.Worker.Executor;

/// <summary>
/// Mount points the runtime makes in a root that lacks them must not end up in the step's layer: what was
/// missing before the run is remembered and, if still empty, removed after it (spec 06 §6.6).
/// </summary>
internal sealed class MountStubs
{
    private readonly string _root;
    private readonly List<(string RealParent, string Parent, string Name)> _missing = [];

    private MountStubs(string root) => _root = root;

    /// <summary>Notes which destinations (and, if <paramref name="recursive"/>, which of their ancestors) are missing.</summary>
    public static MountStubs Record(string root, IEnumerable<string> destinations, bool recursive)
    {
        var stubs = new MountStubs(root);
        foreach (var destination in destinations)
            stubs.Note(destination.TrimEnd('/'), recursive);
        return stubs;
    }

    /// <summary>Removes what the run left empty, deepest first; each parent directory gets its times back.</summary>
    public void Remove()
    {
        // Deepest first: a directory made for several of them is empty only once the last is gone.
        foreach (var (realParent, parent, name) in _missing.OrderByDescending(static stub => stub.Parent.Count(static c => c == '/') - (stub.Parent == "/" ? 1 : 0)))
        {
            // The run may have put a link in the parent's place: then this is not the directory that was looked at.
            if (RootedPath.Resolve(_root, parent, followLast: true) != realParent || !LinuxFile.TryLstat(realParent, out var before))
                continue;
            var stub = realParent + "/" + name;
            if (!LinuxFile.TryLstat(stub, out var stat))
                continue;
            var removed = stat.IsDirectory ? LinuxFile.TryRmdir(LinuxFile.Cwd, stub)
                : stat is { IsRegular: true, Size: 0 } ? LinuxFile.TryUnlink(LinuxFile.Cwd, stub)
                : Errno.ENOTEMPTY;
            if (removed == Errno.None)
                LinuxFile.SetTimes(realParent, before.Atime, before.Mtime);
        }
    }

    private void Note(string path, bool recursive)
    {
        while (path.LastIndexOf('/') is var slash and >= 0)
        {
            var (parent, name) = (slash == 0 ? "/" : path[..slash], path[(slash + 1)..]);
            var realParent = RootedPath.Resolve(_root, parent, followLast: true);
            if (LinuxFile.TryLstat(realParent + "/" + name, out _))
                return;
            if (!_missing.Contains((realParent, parent, name)))
                _missing.Add((realParent, parent, name));
            if (!recursive || slash == 0)
                return;
            path = parent;
        }
    }
}
