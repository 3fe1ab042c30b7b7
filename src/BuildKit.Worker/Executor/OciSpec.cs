using System.Runtime.InteropServices;
using System.Text.Json;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Worker.Executor;

/// <summary>User a process runs as.</summary>
/// <param name="Uid">User id.</param>
/// <param name="Gid">Primary group id.</param>
/// <param name="AdditionalGids">Supplementary groups, the primary one among them.</param>
public sealed record ProcessUser(uint Uid, uint Gid, IReadOnlyList<uint> AdditionalGids);

/// <summary>Everything that decides the text of a bundle's <c>config.json</c> (spec 06 §6.2).</summary>
internal sealed record OciSpec
{
    public required string RootPath { get; init; }

    public required bool ReadOnlyRoot { get; init; }

    public required IReadOnlyList<string> Args { get; init; }

    public required IReadOnlyList<string> Env { get; init; }

    public required string Cwd { get; init; }

    public required ProcessUser User { get; init; }

    public required string Hostname { get; init; }

    public required string CgroupsPath { get; init; }

    public required string ResolvConfPath { get; init; }

    public required string HostsPath { get; init; }

    /// <summary>Step mounts as (destination, mount), in their final order.</summary>
    public required IReadOnlyList<(string Destination, MountSpec Mount)> Mounts { get; init; }

    public required IReadOnlyList<Ulimit> Ulimits { get; init; }

    public bool Tty { get; init; }

    public bool Insecure { get; init; }

    /// <summary>Share the host's network.</summary>
    public bool HostNetwork { get; init; }

    /// <summary>Path of the network namespace to join; null for a new one.</summary>
    public string? NetworkNamespacePath { get; init; }

    public required HostFeatures Host { get; init; }

    public string AppArmorProfile { get; init; } = "";

    /// <summary>The daemon runs in a user namespace: no <c>/sys</c> mounts, no cgroups.</summary>
    public bool Rootless { get; init; }

    /// <summary>Share the host's process namespace (rootless without a process sandbox).</summary>
    public bool NoProcessSandbox { get; init; }

    private static readonly string[] DefaultCapabilities =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
        "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
    ];

    private static readonly string[] MaskedPaths =
    [
        "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
        "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
    ];

    private static readonly string[] ReadOnlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    /// <summary>The specification as JSON, ending in a newline.</summary>
    public byte[] ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("ociVersion", "1.0.2");
            json.WritePropertyName("process");
            WriteProcess(json);
            json.WriteStartObject("root");
            json.WriteString("path", RootPath);
            if (ReadOnlyRoot)
                json.WriteBoolean("readonly", true);
            json.WriteEndObject();
            json.WriteString("hostname", Hostname);
            WriteMounts(json);
            WriteLinux(json);
            json.WriteEndObject();
        }
        buffer.WriteByte((byte)'\n');
        return buffer.ToArray();
    }

    private void WriteProcess(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        if (Tty)
            json.WriteBoolean("terminal", true);
        json.WriteStartObject("user");
        json.WriteNumber("uid", User.Uid);
        json.WriteNumber("gid", User.Gid);
        if (User.AdditionalGids.Count > 0)
        {
            json.WriteStartArray("additionalGids");
            foreach (var gid in User.AdditionalGids)
                json.WriteNumberValue(gid);
            json.WriteEndArray();
        }
        json.WriteEndObject();
        Strings(json, "args", Args);
        Strings(json, "env", Env);
        json.WriteString("cwd", Cwd);
        WriteCapabilities(json);
        if (Ulimits.Count > 0)
        {
            json.WriteStartArray("rlimits");
            foreach (var limit in Ulimits)
            {
                json.WriteStartObject();
                json.WriteString("type", "RLIMIT_" + limit.Name.ToUpperInvariant());
                Limit(json, "hard", limit.Hard);
                Limit(json, "soft", limit.Soft);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        }
        json.WriteBoolean("noNewPrivileges", false);
        if (AppArmorProfile.Length > 0 && !Insecure)
            json.WriteString("apparmorProfile", AppArmorProfile);
        json.WriteEndObject();
    }

    private void WriteCapabilities(Utf8JsonWriter json)
    {
        IReadOnlyList<string> granted = Insecure ? [.. DefaultCapabilities.Union(Host.DaemonCapabilities, StringComparer.Ordinal)] : DefaultCapabilities;
        json.WriteStartObject("capabilities");
        Strings(json, "bounding", granted);
        Strings(json, "effective", granted);
        Strings(json, "permitted", granted);
        if (Insecure)
        {
            Strings(json, "inheritable", Host.DaemonCapabilities);
            Strings(json, "ambient", Host.DaemonCapabilities);
        }
        json.WriteEndObject();
    }

    private void WriteMounts(Utf8JsonWriter json)
    {
        var mounts = new List<(string Destination, string Type, string Source, IReadOnlyList<string> Options)>();
        var index = new Dictionary<string, int>(StringComparer.Ordinal);
        string[] locked = ["nosuid", "noexec", "nodev"];
        var access = Insecure ? "rw" : "ro";
        if (NoProcessSandbox)
            Add("/proc", "bind", "/proc", ["rbind"]);
        else
            Add("/proc", "proc", "proc", locked);
        Add("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]);
        Add("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]);
        Add("/dev/shm", "tmpfs", "shm", [.. locked, "mode=1777", "size=65536k"]);
        Add("/dev/mqueue", "mqueue", "mqueue", locked);
        if (!Rootless)
            Add("/sys", "sysfs", "sysfs", [.. locked, access]);
        Add("/etc/resolv.conf", "bind", ResolvConfPath, [.. locked, "rbind", "ro"]);
        Add("/etc/hosts", "bind", HostsPath, [.. locked, "rbind", "ro"]);
        if (!Rootless)
            Add("/sys/fs/cgroup", "cgroup", "cgroup", [access, .. locked]);
        foreach (var (destination, mount) in Mounts)
            Add(destination, mount.Type, mount.Source, mount.Options);
        json.WriteStartArray("mounts");
        foreach (var (destination, type, source, options) in mounts)
        {
            json.WriteStartObject();
            json.WriteString("destination", destination);
            json.WriteString("type", type);
            json.WriteString("source", source);
            Strings(json, "options", options);
            json.WriteEndObject();
        }
        json.WriteEndArray();

        // A later mount of the same destination takes the earlier one's place: a tmpfs on /dev/shm sets its size.
        void Add(string destination, string type, string source, IReadOnlyList<string> options)
        {
            if (index.TryGetValue(destination, out var at))
            {
                mounts[at] = (destination, type, source, options);
                return;
            }
            index.Add(destination, mounts.Count);
            mounts.Add((destination, type, source, options));
        }
    }

    private void WriteLinux(Utf8JsonWriter json)
    {
        json.WriteStartObject("linux");
        if (!Rootless)
        {
            json.WriteStartObject("resources");
            json.WriteStartArray("devices");
            if (Insecure)
            {
                DeviceRule(json, allow: true, "c");
                DeviceRule(json, allow: true, "b");
            }
            else
            {
                DeviceRule(json, allow: false, null);
            }
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteString("cgroupsPath", CgroupsPath);
        }
        json.WriteStartArray("namespaces");
        if (!NoProcessSandbox)
            Namespace(json, "pid");
        Namespace(json, "ipc");
        Namespace(json, "uts");
        Namespace(json, "mount");
        if (!HostNetwork)
            Namespace(json, "network", NetworkNamespacePath);
        if (Host.CgroupNamespaces)
            Namespace(json, "cgroup");
        json.WriteEndArray();
        if (Insecure)
        {
            if (Host.PrivilegedDevices.Count > 0)
                WriteDevices(json);
            json.WriteEndObject();
            return;
        }
        if (Host.Seccomp)
        {
            json.WritePropertyName("seccomp");
            SeccompProfile.Write(json, RuntimeInformation.OSArchitecture);
        }
        Strings(json, "maskedPaths", NoProcessSandbox ? [.. MaskedPaths.Where(p => !p.StartsWith("/proc", StringComparison.Ordinal))] : MaskedPaths);
        Strings(json, "readonlyPaths", NoProcessSandbox ? [] : ReadOnlyPaths);
        json.WriteEndObject();
    }

    private void WriteDevices(Utf8JsonWriter json)
    {
        json.WriteStartArray("devices");
        foreach (var (path, type, major, minor) in Host.PrivilegedDevices)
        {
            json.WriteStartObject();
            json.WriteString("path", path);
            json.WriteString("type", type);
            json.WriteNumber("major", major);
            json.WriteNumber("minor", minor);
            json.WriteNumber("fileMode", 432);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void DeviceRule(Utf8JsonWriter json, bool allow, string? type)
    {
        json.WriteStartObject();
        json.WriteBoolean("allow", allow);
        if (type is not null)
            json.WriteString("type", type);
        json.WriteString("access", "rwm");
        json.WriteEndObject();
    }

    private static void Namespace(Utf8JsonWriter json, string type, string? path = null)
    {
        json.WriteStartObject();
        json.WriteString("type", type);
        if (path is not null)
            json.WriteString("path", path);
        json.WriteEndObject();
    }

    // -1 is "unlimited", which the specification writes as the largest unsigned number.
    private static void Limit(Utf8JsonWriter json, string name, long value) =>
        json.WriteNumber(name, value < 0 ? ulong.MaxValue : (ulong)value);

    private static void Strings(Utf8JsonWriter json, string name, IReadOnlyList<string> values)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
            json.WriteStringValue(value);
        json.WriteEndArray();
    }
}
