using BuildKit.Oci;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>
/// Runs steps of platforms this machine cannot run by itself: with the emulator program the daemon finds in PATH
/// (spec 06 §7 "Emulator"). Where the kernel already knows how (binfmt), nothing is done.
/// </summary>
/// <param name="runnable">Platforms that run without help.</param>
public sealed class Emulation(IReadOnlySet<Platform> runnable)
{
    private const string Destination = "/dev/.buildkit_qemu_emulator";

    /// <summary>The arguments and the extra mount a step of a platform needs; null when none is.</summary>
    public (IReadOnlyList<string> Args, ContainerMount Mount)? For(Platform platform, IReadOnlyList<string> args)
    {
        if (runnable.Count == 0 || runnable.Any(known => known.Os == platform.Os && known.Architecture == platform.Architecture))
            return null;
        var program = "buildkit-qemu-" + platform.Architecture switch
        {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            "386" => "i386",
            var other => other,
        };
        return OciRuntime.Locate(program) is { } path
            ? ([Destination, .. args], new ContainerMount(Destination, new ReadOnlyFile(path)))
            : null;
    }

    private sealed class ReadOnlyFile(string path) : IMountable
    {
        public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) =>
            Task.FromResult(new MountLease([new MountSpec("bind", path, ["rbind", "ro"])], () => ValueTask.CompletedTask));
    }
}
