using System.Globalization;
using BuildKit.CommandLine;
using BuildKit.Oci;

namespace BuildKit.Daemon.Configuration;

/// <summary>The flags of <c>buildkitd</c> (spec 08 §6.1) and how they override the file.</summary>
public static class DaemonFlags
{
    /// <summary>Every flag, in help order.</summary>
    public static IReadOnlyList<Flag> All { get; } =
    [
        new("config", FlagKind.String, "path to config file"),
        new("debug", FlagKind.Bool, "enable debug output in logs"),
        new("trace", FlagKind.Bool, "enable trace output in logs (highly verbose, could affect performance)"),
        new("root", FlagKind.String, "path to state directory"),
        new("addr", FlagKind.StringList, "listening address (socket or tcp)"),
        new("log-format", FlagKind.String, "log formatter: json or text"),
        new("group", FlagKind.String, "group (name or gid) which will own all Unix socket listening addresses"),
        new("debugaddr", FlagKind.String, "debugging address (eg. 0.0.0.0:6060)") { EnvironmentVariable = "BUILDKITD_DEBUGADDR" },
        new("tlscert", FlagKind.String, "certificate file to use"),
        new("tlskey", FlagKind.String, "key file to use"),
        new("tlscacert", FlagKind.String, "ca certificate to verify clients"),
        new("allow-insecure-entitlement", FlagKind.StringList, "allows insecure entitlements e.g. network.host, security.insecure"),
        new("otel-socket-path", FlagKind.String, "OTEL collector trace socket path"),
        new("cdi-disabled", FlagKind.Bool, "disables support of the Container Device Interface (CDI)"),
        new("cdi-spec-dir", FlagKind.StringList, "list of directories to scan for CDI spec files"),
        new("substitute-dockerfile", FlagKind.Bool, "answer for images of docker/dockerfile with the built-in Dockerfile frontend (default: true)"),
        new("rootless", FlagKind.Bool, "set all the default options to be compatible with rootless containers")
            { Aliases = ["oci-worker-rootless", "containerd-worker-rootless"] },
        new("oci-worker", FlagKind.String, "enable oci workers (true/false/auto)"),
        new("oci-worker-labels", FlagKind.StringList, "user-specific annotation labels (com.example.foo=bar)"),
        new("oci-worker-snapshotter", FlagKind.String, "name of snapshotter (overlayfs or native)"),
        new("oci-worker-proxy-snapshotter-path", FlagKind.String, "address of proxy snapshotter socket (do not include 'unix://' prefix)"),
        new("oci-worker-platform", FlagKind.StringList, "override supported platforms for worker"),
        new("oci-worker-net", FlagKind.String, "worker network type (auto, bridge, cni or host)"),
        new("oci-cni-config-path", FlagKind.String, "path of cni config file"),
        new("oci-cni-binary-dir", FlagKind.String, "path of cni binary files"),
        new("oci-cni-pool-size", FlagKind.Int, "size of cni network namespace pool"),
        new("oci-worker-binary", FlagKind.String, "name of specified oci worker binary"),
        new("oci-worker-apparmor-profile", FlagKind.String, "set the name of the apparmor profile applied to containers"),
        new("oci-worker-selinux", FlagKind.Bool, "apply SELinux labels"),
        new("oci-worker-no-process-sandbox", FlagKind.Bool, "use the host PID namespace and procfs (WARNING: allows build containers to kill (and potentially ptrace) an arbitrary process in the host namespace)"),
        new("oci-worker-gc", FlagKind.Bool, "Enable automatic garbage collection on worker"),
        new("oci-worker-gc-keepstorage", FlagKind.String, "Amount of storage GC keep locally, format \"Reserved[,Free[,Maximum]]\" (MB)"),
        new("oci-max-parallelism", FlagKind.Int, "maximum number of parallel build steps that can be run at the same time"),
        new("containerd-worker", FlagKind.String, "enable containerd workers (true/false/auto)"),
        new("containerd-worker-addr", FlagKind.String, "containerd socket"),
        new("containerd-worker-labels", FlagKind.StringList, "user-specific annotation labels (com.example.foo=bar)"),
        new("containerd-worker-net", FlagKind.String, "worker network type (auto, cni or host)"),
        new("containerd-worker-snapshotter", FlagKind.String, "snapshotter name to use"),
        new("containerd-worker-apparmor-profile", FlagKind.String, "set the name of the apparmor profile applied to containers"),
        new("containerd-worker-selinux", FlagKind.Bool, "apply SELinux labels"),
        new("containerd-worker-gc", FlagKind.Bool, "Enable automatic garbage collection on worker"),
        new("containerd-worker-gc-keepstorage", FlagKind.String, "Amount of storage GC keep locally, format \"Reserved[,Free[,Maximum]]\" (MB)"),
        new("containerd-cni-config-path", FlagKind.String, "path of cni config file"),
        new("containerd-cni-binary-dir", FlagKind.String, "path of cni binary files"),
        new("containerd-cni-pool-size", FlagKind.Int, "size of cni network namespace pool"),
        new("containerd-worker-platform", FlagKind.StringList, "override supported platforms for worker") { Hidden = true },
        new("containerd-worker-namespace", FlagKind.String, "override containerd namespace") { Hidden = true },
        new("containerd-worker-runtime", FlagKind.String, "override containerd runtime") { Hidden = true },
        new("profile-cpu", FlagKind.String, "") { Hidden = true },
        new("profile-memory", FlagKind.String, "") { Hidden = true },
        new("profile-memoryrate", FlagKind.Int, "") { Hidden = true },
        new("profile-block", FlagKind.String, "") { Hidden = true },
        new("profile-mutex", FlagKind.String, "") { Hidden = true },
        new("profile-trace", FlagKind.String, "") { Hidden = true },
        new("version", FlagKind.Bool, "print the version") { Aliases = ["v"] },
    ];

    /// <summary>Reads file and flags into one configuration and fills in the defaults.</summary>
    /// <param name="values">The flags.</param>
    /// <param name="userNamespace">The daemon runs in a user namespace.</param>
    /// <param name="groupId">Finds the id of a group name; null when there is none.</param>
    /// <exception cref="ConfigException">Something cannot be used.</exception>
    public static DaemonConfig Load(FlagValues values, bool userNamespace, Func<string, long?> groupId)
    {
        var config = new DaemonConfig { Rootless = values.IsSet("rootless") ? values.Bool("rootless") : userNamespace };
        var paths = new DefaultPaths(config.Rootless);
        ConfigFile.Load(values.IsSet("config") ? values.String("config") : paths.Config, config);
        if (values.IsSet("rootless"))
            config.Rootless = values.Bool("rootless");
        Override(values, config, groupId);
        if (config.Root.Length == 0)
            config.Root = paths.Root;
        if (config.Addresses.Count == 0)
            config.Addresses = ["unix://" + paths.Socket];
        config.OtelSocketIsChosen = config.OtelSocketPath.Length > 0;
        if (!config.OtelSocketIsChosen)
            config.OtelSocketPath = paths.OtelSocket;
        config.Root = Path.GetFullPath(config.Root);
        return config;
    }

    private static void Override(FlagValues values, DaemonConfig config, Func<string, long?> groupId)
    {
        var worker = config.Worker;
        Bool("debug", v => config.Debug = v);
        Bool("trace", v => config.Trace = v);
        Text("root", v => config.Root = v);
        List("addr", v => config.Addresses = v);
        Text("log-format", v => config.LogFormat = v);
        Text("group", v => config.SocketGid = long.TryParse(v, NumberStyles.None, CultureInfo.InvariantCulture, out var gid)
            ? gid
            : groupId(v) ?? throw new ConfigException($"group: unknown group {v}"));
        if (values.String("debugaddr") is { Length: > 0 } debugAddress)
            config.DebugAddress = debugAddress;
        Text("tlscert", v => config.TlsCert = v);
        Text("tlskey", v => config.TlsKey = v);
        Text("tlscacert", v => config.TlsCa = v);
        List("allow-insecure-entitlement", v => config.InsecureEntitlements = v);
        Text("otel-socket-path", v => config.OtelSocketPath = v);
        Bool("substitute-dockerfile", v => config.SubstituteDockerfile = v);
        Bool("cdi-disabled", v => config.CdiDisabled = v);
        List("cdi-spec-dir", v =>
        {
            config.CdiSpecDirs = v;
            config.WithoutFeature.Add("--cdi-spec-dir");
        });
        if (GoSyntax.ParseBool(values.String("containerd-worker")) == true)
            config.WithoutFeature.Add("--containerd-worker=true");
        foreach (var flag in All.Where(flag => flag.Name.StartsWith("profile-", StringComparison.Ordinal) && values.IsSet(flag.Name)))
            config.WithoutFeature.Add("--" + flag.Name);
        Text("oci-worker", v => worker.Enabled = v == "auto" ? null
            : GoSyntax.ParseBool(v) ?? throw new ConfigException($"invalid value \"{v}\" for oci-worker: expected true, false or auto"));
        List("oci-worker-labels", v =>
        {
            foreach (var label in v)
            {
                var equals = label.IndexOf('=', StringComparison.Ordinal);
                if (equals < 0)
                    throw new ConfigException($"invalid value {label}");
                worker.Labels[label[..equals]] = label[(equals + 1)..];
            }
        });
        Text("oci-worker-snapshotter", v => worker.Snapshotter = v);
        Text("oci-worker-proxy-snapshotter-path", v => worker.ProxySnapshotterPath = v);
        List("oci-worker-platform", v => worker.Platforms = v);
        Text("oci-worker-net", v => worker.NetworkMode = v);
        Text("oci-cni-config-path", v => worker.CniConfigPath = v);
        Text("oci-cni-binary-dir", v => worker.CniBinaryPath = v);
        if (values.IsSet("oci-cni-pool-size"))
            worker.CniPoolSize = values.Int("oci-cni-pool-size");
        Text("oci-worker-binary", v => worker.Binary = v);
        Text("oci-worker-apparmor-profile", v => worker.AppArmorProfile = v);
        Bool("oci-worker-selinux", v => worker.SeLinux = v);
        Bool("oci-worker-no-process-sandbox", v => worker.NoProcessSandbox = v);
        Bool("oci-worker-gc", v => worker.Gc = v);
        Text("oci-worker-gc-keepstorage", v => KeepStorage(v, worker));
        if (values.IsSet("oci-max-parallelism"))
            worker.MaxParallelism = values.Int("oci-max-parallelism");

        void Bool(string name, Action<bool> set)
        {
            if (values.IsSet(name))
                set(values.Bool(name));
        }

        void Text(string name, Action<string> set)
        {
            if (values.IsSet(name))
                set(values.String(name));
        }

        void List(string name, Action<IReadOnlyList<string>> set)
        {
            if (values.IsSet(name))
                set(values.List(name));
        }
    }

    /// <summary>The flag counts in millions of bytes, in the order reserved, free, maximum.</summary>
    private static void KeepStorage(string text, OciWorkerSettings worker)
    {
        var parts = text.Split(',');
        if (parts.Length > 3)
            throw new ConfigException($"invalid value \"{text}\" for oci-worker-gc-keepstorage: expected Reserved[,Free[,Maximum]] in MB");
        var spaces = parts.Select(part => long.TryParse(part.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var megabytes)
            ? new DiskSpace(megabytes * 1_000_000, 0)
            : throw new ConfigException($"invalid value \"{text}\" for oci-worker-gc-keepstorage: \"{part}\" is no number of MB")).ToList();
        worker.ReservedSpace = spaces[0];
        if (spaces.Count > 1)
            worker.MinFreeSpace = spaces[1];
        if (spaces.Count > 2)
            worker.MaxUsedSpace = spaces[2];
    }

    /// <summary>Where things are by default, as root and rootless.</summary>
    private sealed class DefaultPaths(bool rootless)
    {
        private static string Home => Environment.GetEnvironmentVariable("HOME") ?? "/root";

        public string Config => rootless
            ? Path.Combine(Variable("XDG_CONFIG_HOME") ?? Path.Combine(Home, ".config"), "buildkit", "buildkitd.toml")
            : "/etc/buildkit/buildkitd.toml";

        public string Root => rootless
            ? Path.Combine(Variable("XDG_DATA_HOME") ?? Path.Combine(Home, ".local", "share"), "buildkit")
            : "/var/lib/buildkit";

        public string Socket => Path.Combine(Runtime, "buildkit", "buildkitd.sock");

        public string OtelSocket => Path.Combine(Runtime, "buildkit", "otel-grpc.sock");

        private string Runtime => rootless ? Variable("XDG_RUNTIME_DIR") ?? "/run" : "/run";

        private static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
    }
}
