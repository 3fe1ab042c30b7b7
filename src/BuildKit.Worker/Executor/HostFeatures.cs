using System.Globalization;

namespace BuildKit.Worker.Executor;

/// <summary>What the host's kernel offers containers; read once at start.</summary>
public sealed record HostFeatures
{
    private const int CapabilityCount = 41;

    private static readonly string[] CapabilityNames =
    [
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
        "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
        "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
        "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    ];

    /// <summary>The kernel filters system calls.</summary>
    public bool Seccomp { get; init; }

    /// <summary>The unified cgroup hierarchy is in use and has namespaces.</summary>
    public bool CgroupNamespaces { get; init; }

    /// <summary>Some controllers of a cgroup v1 host live in a cgroup2 mount beside them, which crun refuses.</summary>
    public bool HybridCgroups { get; init; }

    /// <summary>Capabilities of the daemon itself, <c>CAP_…</c>.</summary>
    public IReadOnlyList<string> DaemonCapabilities { get; init; } = [];

    /// <summary>Device nodes an insecure step gets: path, type, major, minor.</summary>
    public IReadOnlyList<(string Path, string Type, int Major, int Minor)> PrivilegedDevices { get; init; } = [];

    /// <summary>AppArmor is enabled.</summary>
    public bool AppArmor { get; init; }

    /// <summary>Reads the host's features.</summary>
    /// <param name="loopDevices">Number of loop devices in use, or 0 when it cannot be told.</param>
    /// <param name="userNamespace">The daemon runs in a user namespace, where device nodes cannot be made.</param>
    public static HostFeatures Detect(int loopDevices, bool userNamespace) => new()
    {
        Seccomp = File.Exists("/proc/sys/kernel/seccomp/actions_avail"),
        CgroupNamespaces = File.Exists("/proc/self/ns/cgroup") && File.Exists("/sys/fs/cgroup/cgroup.subtree_control"),
        HybridCgroups = File.Exists("/sys/fs/cgroup/unified/cgroup.controllers") && !File.Exists("/sys/fs/cgroup/cgroup.controllers"),
        DaemonCapabilities = OwnCapabilities(),
        PrivilegedDevices = userNamespace ? [] : Devices(loopDevices),
        AppArmor = Directory.Exists("/sys/kernel/security/apparmor"),
    };

    private static List<string> OwnCapabilities()
    {
        foreach (var line in File.ReadLines("/proc/self/status"))
        {
            if (!line.StartsWith("CapEff:", StringComparison.Ordinal))
                continue;
            var mask = ulong.Parse(line.AsSpan(7).Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            var names = new List<string>();
            for (var i = 0; i < CapabilityCount; i++)
                if ((mask & (1UL << i)) != 0)
                    names.Add("CAP_" + CapabilityNames[i]);
            return names;
        }
        return [];
    }

    private static List<(string, string, int, int)> Devices(int loopDevices)
    {
        List<(string, string, int, int)> devices =
        [
            ("/dev/kmsg", "c", 1, 11),
            ("/dev/cuse", "c", 10, 203),
            ("/dev/fuse", "c", 10, 229),
            ("/dev/kvm", "c", 10, 232),
            ("/dev/net/tun", "c", 10, 200),
            ("/dev/loop-control", "c", 10, 237),
        ];
        for (var i = 0; i < loopDevices + 8; i++)
            devices.Add(($"/dev/loop{i}", "b", 7, i));
        return devices;
    }
}
