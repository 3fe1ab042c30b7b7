using BuildKit.Linux;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Worker.Executor;

/// <summary>The directory a container is run from, with the root mounted in it.</summary>
internal sealed class Bundle : IAsyncDisposable
{
    private Bundle(string path) => Path = path;

    /// <summary>Path of the bundle.</summary>
    public string Path { get; }

    /// <summary>Where the root is mounted.</summary>
    public string RootFs => System.IO.Path.Combine(Path, "rootfs");

    /// <summary>Makes the bundle and mounts the root.</summary>
    public static Bundle Create(string executorDirectory, string id, IReadOnlyList<MountSpec> root)
    {
        var bundle = new Bundle(System.IO.Path.Combine(executorDirectory, id));
        LinuxFile.Mkdir(bundle.Path, Convert.ToUInt32("711", 8));
        try
        {
            LinuxFile.Mkdir(bundle.RootFs, Convert.ToUInt32("700", 8));
            Mounts.MountAll([.. root.Select(ToMountPoint)], bundle.RootFs);
        }
        catch
        {
            LinuxDirectory.RemoveTree(bundle.Path);
            throw;
        }
        return bundle;
    }

    /// <summary>A mount as the kernel is asked for it.</summary>
    public static MountPoint ToMountPoint(MountSpec mount) => new(mount.Type, mount.Source, mount.Options);

    /// <summary>Unmounts the root and removes the bundle.</summary>
    public ValueTask DisposeAsync()
    {
        Mounts.UnmountAll(RootFs);
        LinuxDirectory.RemoveTree(Path);
        return ValueTask.CompletedTask;
    }
}
