using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A directory of its own for a test, removed afterwards with every mount below it.</summary>
public sealed class TempDirectory : IDisposable
{
    public TempDirectory()
    {
        Path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "buildkit-test-" + System.IO.Path.GetRandomFileName());
        LinuxFile.Mkdir(Path, 0x1C0);
    }

    public string Path { get; }

    /// <summary>A new subdirectory with mode 0755.</summary>
    public string Sub(string name)
    {
        var path = System.IO.Path.Combine(Path, name);
        LinuxFile.Mkdir(path, 0x1ED);
        LinuxFile.Chmod(path, 0x1ED);
        return path;
    }

    public void Dispose()
    {
        foreach (var mount in MountTable.Below(Path))
            Mounts.TryUnmount(mount.MountPoint, lazy: true);
        LinuxDirectory.RemoveTree(Path);
    }
}
