using BuildKit.Linux;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// Lets the kernel run programs for arm64 through qemu while it lives. Mounts binfmt_misc and registers a handler only where the machine
/// has none, and takes both away again.
/// </summary>
public sealed class BinfmtHandler : IDisposable
{
    private const string MountPoint = "/proc/sys/fs/binfmt_misc";
    private const string Handler = MountPoint + "/qemu-aarch64";

    // The first bytes of a 64-bit little-endian ELF program or library for AArch64, and which of their bits count.
    private const string Magic = @"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    private const string Mask = @"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

    private readonly bool _mounted;
    private readonly bool _registered;

    public BinfmtHandler()
    {
        if (!File.Exists(MountPoint + "/register"))
        {
            Run("mount", "-t", "binfmt_misc", "binfmt_misc", MountPoint);
            _mounted = true;
        }
        if (File.Exists(Handler))
            return;
        // F: the emulator is opened now, so that it is there in every container.
        File.WriteAllText(MountPoint + "/register", $":qemu-aarch64:M::{Magic}:{Mask}:{Requirement.Locate("qemu-aarch64-static")}:F");
        _registered = true;
    }

    public void Dispose()
    {
        if (_registered)
            File.WriteAllText(Handler, "-1");
        if (_mounted)
            Mounts.TryUnmount(MountPoint, lazy: true);
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = Programs.Start(program, arguments);
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} {string.Join(' ', arguments)}: {process.StandardError.ReadToEnd()}");
    }
}
