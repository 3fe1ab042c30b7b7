using System.Globalization;
using BuildKit.CommandLine;
using BuildKit.Daemon.Configuration.Toml;
using BuildKit.Oci;
using BuildKit.Worker.Executor;

namespace BuildKit.Daemon.Configuration;

/// <summary>Reads <c>buildkitd.toml</c>. A missing file is an empty one; unknown keys are ignored (spec 06 §10.3).</summary>
public static class ConfigFile
{
    /// <summary>Reads a file into <paramref name="config"/>.</summary>
    /// <exception cref="ConfigException">The file cannot be read or says something malformed.</exception>
    public static void Load(string path, DaemonConfig config)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            return;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ConfigException($"failed to load config from {path}: {exception.Message}", exception);
        }
        Apply(bytes, config);
    }

    /// <summary>Reads a text into <paramref name="config"/>.</summary>
    public static void Apply(ReadOnlySpan<byte> toml, DaemonConfig config)
    {
        TomlTable root;
        try
        {
            root = TomlParser.Parse(toml);
        }
        catch (TomlException exception)
        {
            throw new ConfigException($"failed to parse config: {exception.Message}", exception);
        }
        Apply(new Section("", root), config);
    }

    private static void Apply(Section root, DaemonConfig config)
    {
        root.Bool("debug", v => config.Debug = v);
        root.Bool("trace", v => config.Trace = v);
        root.String("root", v => config.Root = v);
        root.Strings("insecure-entitlements", v => config.InsecureEntitlements = v);
        root.Table("log")?.String("format", v => config.LogFormat = v);
        if (root.Table("grpc") is { } grpc)
        {
            grpc.Strings("address", v => config.Addresses = v);
            grpc.String("debugAddress", v => config.DebugAddress = v);
            grpc.Int("uid", v => config.SocketUid = v);
            grpc.Int("gid", v => config.SocketGid = v);
            if (grpc.Table("tls") is { } tls)
            {
                tls.String("cert", v => config.TlsCert = v);
                tls.String("key", v => config.TlsKey = v);
                tls.String("ca", v => config.TlsCa = v);
            }
        }
        root.Table("otel")?.String("socketPath", v => config.OtelSocketPath = v);
        if (root.Table("cdi") is { } cdi)
        {
            cdi.Bool("disabled", v => config.CdiDisabled = v);
            cdi.Strings("specDirs", v =>
            {
                config.CdiSpecDirs = v;
                config.WithoutFeature.Add("cdi.specDirs");
            });
            cdi.Strings("autoAllowed", v => config.CdiAutoAllowed = v);
        }
        if (root.Table("dns") is { } dns)
        {
            IReadOnlyList<string> servers = [], options = [], search = [];
            dns.Strings("nameservers", v => servers = v);
            dns.Strings("options", v => options = v);
            dns.Strings("searchDomains", v => search = v);
            config.Dns = new DnsSettings(servers, options, search);
        }
        if (root.Table("history") is { } history)
        {
            // The defaults hold only without the section: what it leaves out is zero.
            (config.HistoryMaxAge, config.HistoryMaxEntries) = (TimeSpan.Zero, 0);
            history.Duration("maxAge", v =>
            {
                config.HistoryMaxAge = v;
                config.WithoutFeature.Add("history.maxAge");
            });
            history.Int("maxEntries", v =>
            {
                config.HistoryMaxEntries = v;
                config.WithoutFeature.Add("history.maxEntries");
            });
        }
        root.Table("system")?.Duration("platformsCacheMaxAge", v =>
        {
            config.PlatformsCacheMaxAge = v;
            config.WithoutFeature.Add("system.platformsCacheMaxAge");
        });
        if (root.Table("frontend") is { } frontend)
        {
            frontend.Table("dockerfile.v0")?.Bool("enabled", v => config.DockerfileFrontend = v);
            if (frontend.Table("gateway.v0") is { } gateway)
            {
                gateway.Bool("enabled", v => config.GatewayFrontend = v);
                gateway.Strings("allowedRepositories", v => config.GatewayAllowedRepositories = v);
                gateway.Bool("substituteDockerfile", v => config.SubstituteDockerfile = v);
            }
        }
        if (root.Table("registry") is { } registries)
            foreach (var host in registries.Keys)
                if (registries.Table(host) is { } registry)
                    config.Registries[host] = Registry(registry);
        root.Table("worker")?.Table("containerd")?.Bool("enabled", v =>
        {
            if (v)
                config.WithoutFeature.Add("worker.containerd.enabled=true");
        });
        if (root.Table("worker")?.Table("oci") is { } worker)
            Worker(worker, config);
    }

    private static RegistrySettings Registry(Section section)
    {
        var settings = new RegistrySettings();
        section.Strings("mirrors", v => settings = settings with { Mirrors = v });
        section.Bool("http", v => settings = settings with { PlainHttp = v });
        section.Bool("insecure", v => settings = settings with { Insecure = v });
        section.Strings("ca", v => settings = settings with { RootCa = v });
        section.Strings("tlsconfigdir", v => settings = settings with { TlsConfigDirs = v });
        var pairs = new List<(string, string)>();
        foreach (var pair in section.Tables("keypair"))
        {
            string key = "", cert = "";
            pair.String("key", v => key = v);
            pair.String("cert", v => cert = v);
            pairs.Add((key, cert));
        }
        return settings with { KeyPairs = pairs };
    }

    private static void Worker(Section section, DaemonConfig config)
    {
        var worker = config.Worker;
        section.Bool("enabled", v => worker.Enabled = v);
        if (section.Table("labels") is { } labels)
            foreach (var key in labels.Keys)
                labels.String(key, v => worker.Labels[key] = v);
        section.Strings("platforms", v => worker.Platforms = v);
        section.String("snapshotter", v => worker.Snapshotter = v);
        section.Bool("rootless", v => config.Rootless |= v);
        section.Bool("noProcessSandbox", v => worker.NoProcessSandbox = v);
        section.Bool("gc", v => worker.Gc = v);
        section.Space("gckeepstorage", v => worker.ReservedSpace = v);
        section.Space("reservedSpace", v => worker.ReservedSpace = v);
        section.Space("maxUsedSpace", v => worker.MaxUsedSpace = v);
        section.Space("minFreeSpace", v => worker.MinFreeSpace = v);
        foreach (var rule in section.Tables("gcpolicy"))
            (worker.GcPolicy ??= []).Add(Rule(rule));
        section.String("networkMode", v => worker.NetworkMode = v);
        section.String("cniConfigPath", v => worker.CniConfigPath = v);
        section.String("cniBinaryPath", v => worker.CniBinaryPath = v);
        section.Int("cniPoolSize", v => worker.CniPoolSize = v);
        section.String("bridgeName", v => worker.BridgeName = v);
        section.String("bridgeSubnet", v => worker.BridgeSubnet = v);
        section.String("binary", v => worker.Binary = v);
        section.String("proxySnapshotterPath", v => worker.ProxySnapshotterPath = v);
        section.String("defaultCgroupParent", v => worker.DefaultCgroupParent = v);
        section.String("apparmor-profile", v => worker.AppArmorProfile = v);
        section.Bool("selinux", v => worker.SeLinux = v);
        section.Int("max-parallelism", v => worker.MaxParallelism = v);
        worker.StargzSnapshotter |= section.Table("stargzSnapshotter") is not null;
    }

    private static GcRule Rule(Section section)
    {
        var rule = new GcRule(false, [], TimeSpan.Zero, default, default, default);
        section.Bool("all", v => rule = rule with { All = v });
        section.Strings("filters", v => rule = rule with { Filters = v });
        section.Duration("keepDuration", v => rule = rule with { KeepDuration = v });
        section.Space("keepBytes", v => rule = rule with { ReservedSpace = v });
        section.Space("reservedSpace", v => rule = rule with { ReservedSpace = v });
        section.Space("maxUsedSpace", v => rule = rule with { MaxUsedSpace = v });
        section.Space("minFreeSpace", v => rule = rule with { MinFreeSpace = v });
        return rule;
    }

    /// <summary>A table with the path that leads to it, for messages.</summary>
    private sealed class Section(string path, TomlTable table)
    {
        public IReadOnlyList<string> Keys => table.Keys;

        public Section? Table(string key) => table[key] switch
        {
            null => null,
            TomlTable inner => new Section(Name(key), inner),
            _ => throw Wrong(key, "a table"),
        };

        public IEnumerable<Section> Tables(string key) => table[key] switch
        {
            null => [],
            TomlArray array => array.Items.Select(item => item is TomlTable inner ? new Section(Name(key), inner) : throw Wrong(key, "an array of tables")),
            TomlTable inner => [new Section(Name(key), inner)],
            _ => throw Wrong(key, "an array of tables"),
        };

        public void Bool(string key, Action<bool> set) => Read(key, set, value => value is bool b ? b : throw Wrong(key, "true or false"));

        public void String(string key, Action<string> set) => Read(key, set, value => value is string s ? s : throw Wrong(key, "a string"));

        public void Int(string key, Action<long> set) => Read(key, set, value => value is long n ? n : throw Wrong(key, "an integer"));

        public void Strings(string key, Action<IReadOnlyList<string>> set) => Read<IReadOnlyList<string>>(key, set, value => value is TomlArray array
            ? [.. array.Items.Select(item => item as string ?? throw Wrong(key, "a list of strings"))]
            : throw Wrong(key, "a list of strings"));

        public void Duration(string key, Action<TimeSpan> set) => Read(key, set, value => value switch
        {
            long seconds => TimeSpan.FromSeconds(seconds),
            string text when long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds) => TimeSpan.FromSeconds(seconds),
            string text when GoDuration.TryParse(text, out var duration) => duration,
            _ => throw Wrong(key, "a duration such as \"48h\" or a number of seconds"),
        });

        public void Space(string key, Action<DiskSpace> set) => Read(key, set, value =>
        {
            try
            {
                return value switch
                {
                    long bytes => new DiskSpace(bytes, 0),
                    string text => DiskSpace.Parse(text),
                    _ => throw Wrong(key, "a size such as \"10GB\", \"20%\" or a number of bytes"),
                };
            }
            catch (FormatException exception)
            {
                throw new ConfigException($"failed to parse config: {Name(key)}: {exception.Message}", exception);
            }
        });

        private void Read<T>(string key, Action<T> set, Func<object, T> convert)
        {
            if (table[key] is { } value)
                set(convert(value));
        }

        private string Name(string key) => path.Length == 0 ? key : path + "." + key;

        private ConfigException Wrong(string key, string expected) => new($"failed to parse config: {Name(key)} must be {expected}");
    }
}

/// <summary>The configuration cannot be used; the message says where and why.</summary>
public sealed class ConfigException(string message, Exception? inner = null) : Exception(message, inner);
