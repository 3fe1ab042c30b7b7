using BuildKit.Linux;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Layers;

/// <summary>A tree made accessible at a path for a while: a bind mount's own directory, or a temporary mount.</summary>
public sealed class MountedTree : IAsyncDisposable
{
    private readonly string? _mountPoint;

    private MountedTree(string root, string? mountPoint)
    {
        Root = root;
        _mountPoint = mountPoint;
    }

    /// <summary>The directory where the tree can be read (and written, unless opened read-only).</summary>
    public string Root { get; }

    /// <summary>Opens mounts. A single bind mount is used in place; anything else is mounted below
    /// <paramref name="tempDirectory"/>. Read-only views of an overlay leave its upper and work directory alone.</summary>
    public static MountedTree Open(IReadOnlyList<MountSpec> mounts, bool readOnly, string? tempDirectory = null)
    {
        if (BindSource(mounts) is { } source)
            return new MountedTree(source, null);
        var directory = Path.Combine(tempDirectory ?? Path.GetTempPath(), "buildkit-mount-" + Path.GetRandomFileName());
        LinuxFile.Mkdir(directory, 0x1C0);
        try
        {
            Mounts.MountAll([.. mounts.Select(m => ToMountPoint(readOnly ? ReadOnly(m) : m))], directory);
        }
        catch
        {
            LinuxFile.Rmdir(LinuxFile.Cwd, directory);
            throw;
        }
        return new MountedTree(directory, directory);
    }

    /// <summary>The source directory when the mounts are one bind mount.</summary>
    public static string? BindSource(IReadOnlyList<MountSpec> mounts) =>
        mounts is [var only] && (only.Type == "bind" || only.Options.Contains("bind") || only.Options.Contains("rbind")) ? only.Source : null;

    /// <summary>The mount as the system call layer takes it.</summary>
    public static MountPoint ToMountPoint(MountSpec mount) => new(mount.Type, mount.Source, mount.Options);

    /// <summary>The read-only form of a mount (spec 06 §1.2): an overlay's upper directory becomes its first lower one.</summary>
    public static MountSpec ReadOnly(MountSpec mount)
    {
        if (mount.Type != "overlay")
            return mount with { Options = [.. mount.Options.Where(o => o is not ("rw" or "ro")), "ro"] };
        string? upper = null;
        var options = new List<string>();
        foreach (var option in mount.Options)
        {
            if (option.StartsWith("upperdir=", StringComparison.Ordinal))
                upper = option["upperdir=".Length..];
            else if (!option.StartsWith("workdir=", StringComparison.Ordinal))
                options.Add(option);
        }
        if (upper is null)
            return mount;
        var lower = options.FindIndex(o => o.StartsWith("lowerdir=", StringComparison.Ordinal));
        if (lower < 0)
            throw new ArgumentException($"overlay mount with upperdir={upper} has no lowerdir", nameof(mount));
        options[lower] = $"lowerdir={upper}:{options[lower]["lowerdir=".Length..]}";
        return mount with { Options = options };
    }

    /// <summary>Unmounts what was mounted.</summary>
    public ValueTask DisposeAsync()
    {
        if (_mountPoint is not null && LinuxFile.TryLstat(_mountPoint, out _))
        {
            Mounts.UnmountAll(_mountPoint);
            LinuxFile.Rmdir(LinuxFile.Cwd, _mountPoint);
        }
        return ValueTask.CompletedTask;
    }
}
