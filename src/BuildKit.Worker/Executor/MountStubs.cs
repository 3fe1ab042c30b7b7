using BuildKit.Linux;

namespace BuildKit.Worker.Executor;

/// <summary>
/// Mount points the runtime makes in a root that lacks them must not end up in the step's layer: what was
/// missing before the run is remembered and, if still empty, removed after it (spec 06 §6.6).
/// </summary>
internal sealed class MountStubs
{
    private readonly List<(string Parent, string Path)> _missing = [];
    private readonly string _root;

    private MountStubs(string root) => _root = root;

    /// <summary>Notes which destinations (and with <paramref name="recursive"/> their ancestors) are missing.</summary>
    public static MountStubs Record(string root, IEnumerable<string> destinations, bool recursive)
    {
        var stubs = new MountStubs(root);
        foreach (var destination in destinations)
            stubs.Note(destination, recursive);
        return stubs;
    }

    /// <summary>Removes what the run left empty, deepest first, giving each parent directory its times back.</summary>
    public void Remove()
    {
        foreach (var (parent, path) in _missing)
        {
            if (RootedPath.Resolve(_root, parent["".Length..]) is not { } realParent)
                continue;
            var real = Path.Combine(realParent, Path.GetFileName(path));
            var before = FileSystem.TryStat(realParent);
            var stub = FileSystem.TryStat(real);
            if (before is null || stub is null)
                continue;
            if (stub.Value.IsDirectory ? !FileSystem.TryRemoveDirectory(real) : !(stub.Value.IsRegularFile && stub.Value.Size == 0 && FileSystem.TryUnlink(real)))
                continue;
            FileSystem.SetTimes(realParent, before.Value.AccessTime, before.Value.ModifyTime);
        }
    }

    private void Note(string destination, bool recursive)
    {
        var path = destination;
        while (path.Length > 1)
        {
            var parent = Path.GetDirectoryName(path) ?? "/";
            var realParent = RootedPath.Resolve(_root, parent);
            if (realParent is not null && FileSystem.TryStat(Path.Combine(realParent, Path.GetFileName(path))) is not null)
                return;
            if (!_missing.Contains((parent, path)))
                _missing.Add((parent, path));
            if (!recursive)
                return;
            path = parent;
        }
    }
}
