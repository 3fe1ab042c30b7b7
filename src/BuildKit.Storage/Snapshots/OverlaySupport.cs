using BuildKit.Linux;

namespace BuildKit.Storage.Snapshots;

/// <summary>What the kernel's overlayfs can do on a directory.</summary>
public static class OverlaySupport
{
    /// <summary>Whether overlays with two lower directories and whiteouts work below a directory (tried out).</summary>
    public static bool KernelWorksOn(string directory) =>
        // Volatile, as unmounting otherwise waits until all the file system has in memory is on disk.
        Works(directory, "overlay", KernelAtLeast(5, 10) ? [.. Extras(directory), "volatile"] : Extras(directory));

    /// <summary>Whether fuse-overlayfs works below a directory (tried out).</summary>
    public static bool FuseWorksOn(string directory) => Works(directory, "fuse3.fuse-overlayfs", []);

    /// <summary>Options every overlay mount gets here: <c>userxattr</c> in a user namespace, <c>index=off</c> where the kernel knows it.</summary>
    internal static IReadOnlyList<string> Extras(string directory)
    {
        List<string> extras = [];
        if (LinuxProcess.InUserNamespace() && KernelAtLeast(5, 11) && FileSystemStatistics.Of(directory).Type != FileSystemStatistics.Tmpfs)
            extras.Add("userxattr");
        if (File.Exists("/sys/module/overlay/parameters/index"))
            extras.Add("index=off");
        return extras;
    }

    private static bool KernelAtLeast(int major, int minor) => Environment.OSVersion.Version >= new Version(major, minor);

    private static bool Works(string directory, string type, IReadOnlyList<string> extras)
    {
        var probe = Path.Combine(directory, "overlay-probe-" + Identifiers.New());
        foreach (var name in (ReadOnlySpan<string>)["lower1", "lower2", "upper", "work", "merged"])
            Directory.CreateDirectory(Path.Combine(probe, name));
        try
        {
            File.WriteAllText(Path.Combine(probe, "lower1", "gone"), "");
            var merged = Path.Combine(probe, "merged");
            Mounts.Mount(
                new MountPoint(type, "overlay",
                [
                    "workdir=" + Path.Combine(probe, "work"), "upperdir=" + Path.Combine(probe, "upper"),
                    $"lowerdir={Path.Combine(probe, "lower2")}:{Path.Combine(probe, "lower1")}", .. extras,
                ]),
                merged);
            try
            {
                // Without d_type in the file system the deleted name stays visible.
                File.Delete(Path.Combine(merged, "gone"));
                return !Directory.EnumerateFileSystemEntries(merged).Any();
            }
            finally
            {
                Mounts.UnmountAll(merged);
            }
        }
        catch (IOException)
        {
            return false;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
        finally
        {
            LinuxDirectory.RemoveTree(probe);
        }
    }
}
