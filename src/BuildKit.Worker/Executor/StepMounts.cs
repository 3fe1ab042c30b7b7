using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Worker.Executor;

/// <summary>
/// Turns a step's mounts into mounts the runtime can do, and holds what they need while the step runs. A mount
/// of a part of a source is resolved here, inside the source, so that no link in it leads out (spec 06 §7).
/// </summary>
internal sealed class StepMounts(string directory) : IAsyncDisposable
{
    private const int MaxResolveTries = 10;

    private readonly List<MountLease> _leases = [];
    private readonly List<string> _mounted = [];
    private readonly Dictionary<IMountable, string> _sources = new(ReferenceEqualityComparer.Instance);

    /// <summary>The mounts sorted by destination.</summary>
    public async Task<IReadOnlyList<(string Destination, MountSpec Mount)>> ResolveAsync(
        IReadOnlyList<ContainerMount> mounts, CancellationToken cancellationToken)
    {
        var resolved = new List<(string, MountSpec)>();
        foreach (var mount in mounts.OrderBy(mount => mount.Destination, LinuxText.ByteOrder))
        {
            if (mount.Selector is "" or "/")
            {
                var lease = await mount.Source.AcquireAsync(cancellationToken);
                _leases.Add(lease);
                foreach (var spec in lease.Mounts)
                    resolved.Add((mount.Destination, spec));
            }
            else
            {
                resolved.Add((mount.Destination, await SelectAsync(mount, cancellationToken)));
            }
        }
        return resolved;
    }

    /// <summary>Undoes every temporary mount, then lets go of the sources.</summary>
    public async ValueTask DisposeAsync()
    {
        for (var i = _mounted.Count; i-- > 0;)
            Mounts.UnmountAll(_mounted[i]);
        _mounted.Clear();
        for (var i = _leases.Count; i-- > 0;)
            await _leases[i].DisposeAsync();
        _leases.Clear();
        _sources.Clear();
    }

    private async Task<MountSpec> SelectAsync(ContainerMount mount, CancellationToken cancellationToken)
    {
        if (!_sources.TryGetValue(mount.Source, out var source))
        {
            var lease = await mount.Source.AcquireAsync(cancellationToken);
            _leases.Add(lease);
            source = NewMountPoint(isDirectory: true);
            Mounts.MountAll([.. lease.Mounts.Select(Bundle.ToMountPoint)], source);
            _mounted.Add(source);
            _sources.Add(mount.Source, source);
        }
        var readOnly = _leases[^1].Mounts.Any(spec => spec.Options.Contains("ro"));
        return BindPart(source, mount.Selector, readOnly);
    }

    private MountSpec BindPart(string source, string selector, bool readOnly)
    {
        for (var i = 0; i < MaxResolveTries; i++)
        {
            using var root = LinuxFile.Open(source, OpenFlags.PathOnly | OpenFlags.Directory);
            var errno = RootedPath.TryOpen(root, selector, OpenFlags.PathOnly, out var part);
            if (errno == Errno.EAGAIN)
                continue;
            if (errno != Errno.None)
                throw new InvalidOperationException($"{selector}: {ErrnoText.Of(errno)}");
            using (part)
            {
                // The open descriptor pins what was resolved: whatever happens to the path now, this is what is bound.
                var target = NewMountPoint(LinuxFile.Stat(part!).IsDirectory);
                Mounts.Mount(new MountPoint("bind", $"/proc/self/fd/{part!.DangerousGetHandle()}", ["rbind"]), target);
                _mounted.Add(target);
                return new MountSpec("bind", target, ["rbind", readOnly ? "ro" : "rw"]);
            }
        }
        throw new InvalidOperationException($"unable to safely resolve subpath {selector}");
    }

    private string NewMountPoint(bool isDirectory)
    {
        LinuxFile.MkdirAll(directory, Convert.ToUInt32("711", 8));
        var path = Path.Combine(directory, _mounted.Count.ToString(System.Globalization.CultureInfo.InvariantCulture));
        if (isDirectory)
            LinuxFile.Mkdir(path, Convert.ToUInt32("700", 8));
        else
            File.WriteAllBytes(path, []);
        return path;
    }
}
