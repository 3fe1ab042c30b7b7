using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;

namespace BuildKit.Daemon.Configuration;

/// <summary>Everything <c>buildkitd.toml</c> and the flags can say, after both were read (spec 06 §10).</summary>
public sealed record DaemonConfig
{
    public bool Debug { get; set; }

    public bool Trace { get; set; }

    /// <summary>State directory.</summary>
    public string Root { get; set; } = "";

    /// <summary>Entitlements builds may ask for.</summary>
    public IReadOnlyList<string> InsecureEntitlements { get; set; } = [];

    /// <summary><c>text</c> or <c>json</c>.</summary>
    public string LogFormat { get; set; } = "text";

    /// <summary>Listening addresses, <c>unix://</c>, <c>tcp://</c> or <c>fd://</c>.</summary>
    public IReadOnlyList<string> Addresses { get; set; } = [];

    public string DebugAddress { get; set; } = "";

    /// <summary>Owner of unix sockets; null is the process' own.</summary>
    public long? SocketUid { get; set; }

    /// <summary>Group of unix sockets.</summary>
    public long? SocketGid { get; set; }

    public string TlsCert { get; set; } = "";

    public string TlsKey { get; set; } = "";

    public string TlsCa { get; set; } = "";

    public string OtelSocketPath { get; set; } = "";

    /// <summary>The path was named rather than left to the default.</summary>
    public bool OtelSocketIsChosen { get; set; }

    public bool CdiDisabled { get; set; }

    public IReadOnlyList<string> CdiSpecDirs { get; set; } = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

    public IReadOnlyList<string> CdiAutoAllowed { get; set; } = [];

    public DnsSettings? Dns { get; set; }

    /// <summary>How long build records are kept.</summary>
    public TimeSpan HistoryMaxAge { get; set; } = TimeSpan.FromHours(48);

    /// <summary>How many build records are kept.</summary>
    public long HistoryMaxEntries { get; set; } = 50;

    public TimeSpan PlatformsCacheMaxAge { get; set; } = TimeSpan.FromSeconds(20);

    public bool DockerfileFrontend { get; set; } = true;

    public bool GatewayFrontend { get; set; } = true;

    public IReadOnlyList<string> GatewayAllowedRepositories { get; set; } = [];

    /// <summary>Images of the reference's Dockerfile frontend are answered by the built-in one.</summary>
    public bool SubstituteDockerfile { get; set; } = true;

    /// <summary>Registries by host.</summary>
    public Dictionary<string, RegistrySettings> Registries { get; } = new(StringComparer.Ordinal);

    /// <summary>The daemon runs in a user namespace.</summary>
    public bool Rootless { get; set; }

    public OciWorkerSettings Worker { get; } = new();

    /// <summary>Settings that were made although their feature is not there, by the names they were made with.</summary>
    public ISet<string> WithoutFeature { get; } = new SortedSet<string>(StringComparer.Ordinal);
}

/// <summary>One <c>[registry."host"]</c>.</summary>
public sealed record RegistrySettings
{
    public IReadOnlyList<string> Mirrors { get; init; } = [];

    public bool? PlainHttp { get; init; }

    public bool? Insecure { get; init; }

    public IReadOnlyList<string> RootCa { get; init; } = [];

    public IReadOnlyList<(string Key, string Cert)> KeyPairs { get; init; } = [];

    public IReadOnlyList<string> TlsConfigDirs { get; init; } = [];
}

/// <summary><c>[worker.oci]</c> and its flags.</summary>
public sealed record OciWorkerSettings
{
    /// <summary>Null is "auto": if a runtime is installed.</summary>
    public bool? Enabled { get; set; }

    public Dictionary<string, string> Labels { get; } = new(StringComparer.Ordinal);

    public IReadOnlyList<string> Platforms { get; set; } = [];

    public string Snapshotter { get; set; } = "auto";

    public string ProxySnapshotterPath { get; set; } = "";

    public bool NoProcessSandbox { get; set; }

    public bool Gc { get; set; } = true;

    public DiskSpace ReservedSpace { get; set; }

    public DiskSpace MaxUsedSpace { get; set; }

    public DiskSpace MinFreeSpace { get; set; }

    /// <summary>Configured rules; null when there are none and the defaults hold.</summary>
    public List<GcRule>? GcPolicy { get; set; }

    public string NetworkMode { get; set; } = "auto";

    public string CniConfigPath { get; set; } = "/etc/buildkit/cni.json";

    public string CniBinaryPath { get; set; } = "/opt/cni/bin";

    public long CniPoolSize { get; set; }

    public string BridgeName { get; set; } = "buildkit0";

    public string BridgeSubnet { get; set; } = "10.10.0.0/16";

    public string Binary { get; set; } = "";

    public string DefaultCgroupParent { get; set; } = "";

    public string AppArmorProfile { get; set; } = "";

    public bool SeLinux { get; set; }

    /// <summary>Source, exec and file operations at a time; 0 is unlimited.</summary>
    public long MaxParallelism { get; set; }

    public bool StargzSnapshotter { get; set; }
}

/// <summary>One <c>[[worker.oci.gcpolicy]]</c>.</summary>
public sealed record GcRule(
    bool All, IReadOnlyList<string> Filters, TimeSpan KeepDuration, DiskSpace ReservedSpace, DiskSpace MaxUsedSpace, DiskSpace MinFreeSpace)
{
    /// <summary>The rule in bytes.</summary>
    public PruneOptions ToOptions(long? diskSize) => new(
        Filters, All, KeepDuration, ReservedSpace.ToBytes(diskSize), MaxUsedSpace.ToBytes(diskSize), MinFreeSpace.ToBytes(diskSize));
}
