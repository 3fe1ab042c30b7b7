using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Daemon.Hosting;

/// <summary>Keeps two daemons from sharing one state directory.</summary>
internal sealed class InstanceLock : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly string _path;

    private InstanceLock(SafeFileHandle file, string path)
    {
        _file = file;
        _path = path;
    }

    /// <summary>Locks a state directory.</summary>
    /// <exception cref="InvalidOperationException">Another daemon has it.</exception>
    public static InstanceLock Take(string root)
    {
        var path = Path.Combine(root, "buildkitd.lock");
        var file = LinuxFile.Open(path, OpenFlags.ReadWrite | OpenFlags.Create, Convert.ToUInt32("600", 8));
        if (LinuxFile.TryLock(file))
            return new InstanceLock(file, path);
        file.Dispose();
        throw new InvalidOperationException($"could not lock {path}, another instance running?");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        File.Delete(_path);
        _file.Dispose();
    }
}
