using System.Runtime.InteropServices;
using BuildKit.Daemon.Configuration;
using BuildKit.Oci;
using BuildKit.Registry.Hosts;
using BuildKit.Storage;

namespace BuildKit.Daemon.Hosting;

/// <summary>What this worker is: its id, labels, platforms and registries.</summary>
internal static class WorkerIdentity
{
    private const string LabelPrefix = "org.mobyproject.buildkit.worker.";

    /// <summary>The worker's id, made at the first start.</summary>
    public static string Load(string workerDirectory)
    {
        var path = Path.Combine(workerDirectory, "workerid");
        if (File.Exists(path) && File.ReadAllText(path).Trim() is { Length: > 0 } known)
            return known;
        var id = Identifiers.New();
        var temporary = path + ".tmp";
        File.WriteAllText(temporary, id);
        File.SetUnixFileMode(temporary, UnixFileMode.UserRead);
        File.Move(temporary, path, overwrite: true);
        return id;
    }

    /// <summary>Labels clients see.</summary>
    public static IReadOnlyDictionary<string, string> Labels(DaemonConfig config, string snapshotter)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [LabelPrefix + "executor"] = "oci",
            [LabelPrefix + "hostname"] = Environment.MachineName,
            [LabelPrefix + "network"] = "host",
            [LabelPrefix + "oci.process-mode"] = config.Worker.NoProcessSandbox ? "no-sandbox" : "sandbox",
            [LabelPrefix + "selinux.enabled"] = "false",
            [LabelPrefix + "snapshotter"] = snapshotter,
        };
        if (config.Worker.AppArmorProfile.Length > 0)
            labels[LabelPrefix + "apparmor.profile"] = config.Worker.AppArmorProfile;
        foreach (var (key, value) in config.Worker.Labels)
            labels[key] = value;
        return labels;
    }

    /// <summary>Platforms steps can run on, the default first: the configured ones, else what the CPU and binfmt can.</summary>
    public static IReadOnlyList<Platform> Platforms(DaemonConfig config)
    {
        if (config.Worker.Platforms.Count > 0)
            return [.. config.Worker.Platforms.Select(text => Platform.Parse(text).Normalize())];
        var platforms = new List<Platform> { Platform.Host };
        if (Platform.Host.Architecture == "amd64")
        {
            platforms.AddRange(CpuLevels.OfThisMachine().Select(static level => new Platform("linux", "amd64", level)));
            platforms.Add(new Platform("linux", "386"));
        }
        foreach (var (handler, platform) in (ReadOnlySpan<(string, Platform)>)
        [
            ("qemu-x86_64", new("linux", "amd64")), ("qemu-aarch64", new("linux", "arm64")), ("qemu-riscv64", new("linux", "riscv64")),
            ("qemu-ppc64le", new("linux", "ppc64le")), ("qemu-s390x", new("linux", "s390x")), ("qemu-mips64el", new("linux", "mips64le")),
            ("qemu-mips64", new("linux", "mips64")), ("qemu-loongarch64", new("linux", "loong64")), ("qemu-arm", new("linux", "arm", "v7")),
        ])
        {
            if (!platforms.Contains(platform) && RunsByBinfmt(handler))
                platforms.Add(platform);
        }
        return platforms;
    }

    /// <summary>The registries of the configuration as the registry client takes them.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="firstRetry">How long failed transfers wait before their second attempt; null for the default.</param>
    public static RegistryConfig Registries(DaemonConfig config, TimeSpan? firstRetry = null) => new()
    {
        FirstRetry = firstRetry ?? new RegistryConfig().FirstRetry,
        Hosts = config.Registries.ToDictionary(
            host => host.Key,
            host => new RegistryHostConfig
            {
                Mirrors = host.Value.Mirrors,
                PlainHttp = host.Value.PlainHttp,
                Insecure = host.Value.Insecure,
                CaFiles = host.Value.RootCa,
                KeyPairs = [.. host.Value.KeyPairs.Select(pair => new TlsKeyPair(pair.Cert, pair.Key))],
                TlsConfigDirectories = host.Value.TlsConfigDirs,
            },
            StringComparer.Ordinal),
    };

    /// <summary>Whether the kernel runs a foreign CPU's programs inside containers: only with the F flag is the
    /// emulator open before the container's root hides it.</summary>
    private static bool RunsByBinfmt(string handler)
    {
        var path = "/proc/sys/fs/binfmt_misc/" + handler;
        try
        {
            return File.Exists(path) && File.ReadLines(path).Any(line => line.StartsWith("flags:", StringComparison.Ordinal) && line.Contains('F', StringComparison.Ordinal));
        }
        catch (IOException)
        {
            return false;
        }
    }
}
