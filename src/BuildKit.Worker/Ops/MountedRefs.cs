using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Ops;

/// <summary>Mounts refs in a temporary directory for the length of one operation.</summary>
internal sealed class MountedRefs(string temporaryDirectory) : IAsyncDisposable
{
    private readonly List<string> _mounted = [];
    private readonly List<MountLease> _leases = [];
    private readonly Dictionary<IRef, string> _paths = new(ReferenceEqualityComparer.Instance);
    private string? _empty;

    /// <summary>Directory in which a ref's tree is; null is an empty directory.</summary>
    public async Task<string> PathOfAsync(IRef? reference, bool readOnly, CancellationToken cancellationToken)
    {
        if (reference is null)
            return _empty ??= NewDirectory();
        if (_paths.TryGetValue(reference, out var known))
            return known;
        var lease = await (await reference.MountAsync(readOnly, cancellationToken)).AcquireAsync(cancellationToken);
        _leases.Add(lease);
        string path;
        if (lease.Mounts is [{ Type: "bind" } bind])
        {
            path = bind.Source;
        }
        else
        {
            path = NewDirectory();
            Mounts.MountAll([.. lease.Mounts.Select(Bundle.ToMountPoint)], path);
            _mounted.Add(path);
        }
        _paths.Add(reference, path);
        return path;
    }

    /// <summary>Unmounts everything.</summary>
    public async ValueTask DisposeAsync()
    {
        for (var i = _mounted.Count; i-- > 0;)
        {
            Mounts.UnmountAll(_mounted[i]);
            Directory.Delete(_mounted[i]);
        }
        if (_empty is not null)
            LinuxDirectory.RemoveTree(_empty);
        for (var i = _leases.Count; i-- > 0;)
            await _leases[i].DisposeAsync();
        _mounted.Clear();
        _leases.Clear();
        _paths.Clear();
        _empty = null;
    }

    private string NewDirectory()
    {
        LinuxFile.MkdirAll(temporaryDirectory, Convert.ToUInt32("700", 8));
        var path = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        LinuxFile.Mkdir(path, Convert.ToUInt32("755", 8));
        return path;
    }
}
