using BuildKit.Linux;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

/// <summary>
/// Writable overlay mounts, one per record whoever asks: an upper directory must not be mounted twice. The first
/// user mounts, everybody gets a bind of it, the last one unmounts (spec 06 §1.2).
/// </summary>
internal sealed class SharedMounts
{
    private readonly string _root;
    private readonly Dictionary<string, Shared> _mounts = new(StringComparer.Ordinal);

    public SharedMounts(string root)
    {
        _root = root;
        Directory.CreateDirectory(root);
        Sweep();
    }

    public MountLease Acquire(string id, IReadOnlyList<MountSpec> mounts)
    {
        if (mounts is not [{ Type: not "bind" }])
            return new MountLease(mounts, static () => ValueTask.CompletedTask);
        lock (_mounts)
        {
            if (!_mounts.TryGetValue(id, out var shared))
            {
                shared = new Shared(Path.Combine(_root, "buildkit" + Identifiers.New()));
                Directory.CreateDirectory(shared.Target);
                try
                {
                    Mounts.Mount(new MountPoint(mounts[0].Type, mounts[0].Source, mounts[0].Options), shared.Target);
                }
                catch
                {
                    Directory.Delete(shared.Target);
                    throw;
                }

                _mounts.Add(id, shared);
            }

            shared.Users++;
            return new MountLease([new MountSpec("bind", shared.Target, ["rw", "rbind"])], () => Release(id, shared));
        }
    }

    private ValueTask Release(string id, Shared shared)
    {
        lock (_mounts)
        {
            if (--shared.Users != 0)
                return ValueTask.CompletedTask;
            _mounts.Remove(id);
            // Busy it may be for a moment: a process that is being started has our open files until its program runs.
            Mounts.UnmountAll(shared.Target);
            Directory.Delete(shared.Target);
        }

        return ValueTask.CompletedTask;
    }

    // Mounts outlive a killed daemon.
    private void Sweep()
    {
        foreach (var entry in MountTable.Below(_root))
            _ = Mounts.TryUnmount(entry.MountPoint, lazy: true);
        foreach (var directory in Directory.EnumerateDirectories(_root))
            Directory.Delete(directory);
    }

    private sealed class Shared(string target)
    {
        public string Target { get; } = target;

        public int Users { get; set; }
    }
}
