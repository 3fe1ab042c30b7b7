using System.Text;
using BuildKit.Daemon.Configuration;

namespace BuildKit.Tests.Daemon;

/// <summary>Every key of <c>buildkitd.toml</c> (spec 06 §10.3).</summary>
public sealed class ConfigFileTests
{
    [Fact]
    public void Every_key_of_the_file_reaches_the_configuration()
    {
        var config = Read("""
            debug = true
            trace = true
            root = "/srv/buildkit"
            insecure-entitlements = [ "network.host", "security.insecure" ]
            [log]
              format = "json"
            [grpc]
              address = [ "tcp://0.0.0.0:1234", "unix:///run/b.sock" ]
              debugAddress = "0.0.0.0:6060"
              uid = 1000
              gid = 1001
              securityDescriptor = "D:P(A;;GA;;;BA)"
              [grpc.tls]
                cert = "/c.pem"
                key = "/k.pem"
                ca = "/ca.pem"
            [otel]
              socketPath = "/run/otel.sock"
            [cdi]
              disabled = true
              specDirs = [ "/a", "/b" ]
              autoAllowed = [ "vendor.com/gpu" ]
            [dns]
              nameservers = [ "1.1.1.1" ]
              options = [ "edns0" ]
              searchDomains = [ "example.com" ]
            [history]
              maxAge = "30m"
              maxEntries = 7
            [system]
              platformsCacheMaxAge = "1m"
            [frontend."dockerfile.v0"]
              enabled = false
            [frontend."gateway.v0"]
              enabled = false
              allowedRepositories = [ "docker/dockerfile" ]
              substituteDockerfile = false
            [registry."docker.io"]
              mirrors = [ "mirror.example:5000", "other.example" ]
              http = true
              insecure = true
              ca = [ "/etc/ca.pem" ]
              tlsconfigdir = [ "/etc/certs" ]
              [[registry."docker.io".keypair]]
                key = "/etc/key.pem"
                cert = "/etc/cert.pem"
            [worker.oci]
              enabled = true
              platforms = [ "linux/amd64", "linux/arm64" ]
              snapshotter = "native"
              rootless = true
              noProcessSandbox = true
              gc = false
              reservedSpace = "30%"
              maxUsedSpace = "60%"
              minFreeSpace = "20GB"
              networkMode = "host"
              cniConfigPath = "/cni.json"
              cniBinaryPath = "/cni"
              cniPoolSize = 16
              bridgeName = "br0"
              bridgeSubnet = "10.11.0.0/16"
              binary = "crun"
              proxySnapshotterPath = "/proxy.sock"
              defaultCgroupParent = "buildkit"
              apparmor-profile = "p"
              selinux = true
              max-parallelism = 4
              [worker.oci.labels]
                "a.b" = "c"
              [worker.oci.stargzSnapshotter]
              [[worker.oci.gcpolicy]]
                reservedSpace = "512MB"
                keepDuration = "48h"
                filters = [ "type==source.local", "type==exec.cachemount" ]
              [[worker.oci.gcpolicy]]
                all = true
                maxUsedSpace = 1024
                minFreeSpace = "10%"
                keepDuration = 3600
            [worker.containerd]
              enabled = true
              address = "/run/containerd/containerd.sock"
            """);
        Assert.True(config.Debug);
        Assert.True(config.Trace);
        Assert.Equal("/srv/buildkit", config.Root);
        Assert.Equal(["network.host", "security.insecure"], config.InsecureEntitlements);
        Assert.Equal("json", config.LogFormat);
        Assert.Equal(["tcp://0.0.0.0:1234", "unix:///run/b.sock"], config.Addresses);
        Assert.Equal("0.0.0.0:6060", config.DebugAddress);
        Assert.Equal((1000L, 1001L), (config.SocketUid, config.SocketGid));
        Assert.Equal(("/c.pem", "/k.pem", "/ca.pem"), (config.TlsCert, config.TlsKey, config.TlsCa));
        Assert.Equal("/run/otel.sock", config.OtelSocketPath);
        Assert.True(config.CdiDisabled);
        Assert.Equal(["/a", "/b"], config.CdiSpecDirs);
        Assert.Equal(["vendor.com/gpu"], config.CdiAutoAllowed);
        Assert.NotNull(config.Dns);
        Assert.Equal(["1.1.1.1"], config.Dns.Nameservers);
        Assert.Equal(["edns0"], config.Dns.Options);
        Assert.Equal(["example.com"], config.Dns.SearchDomains);
        Assert.Equal((TimeSpan.FromMinutes(30), 7L), (config.HistoryMaxAge, config.HistoryMaxEntries));
        Assert.Equal(TimeSpan.FromMinutes(1), config.PlatformsCacheMaxAge);
        Assert.False(config.DockerfileFrontend);
        Assert.False(config.GatewayFrontend);
        Assert.Equal(["docker/dockerfile"], config.GatewayAllowedRepositories);
        Assert.False(config.SubstituteDockerfile);
        Assert.Equal(["docker.io/docker/dockerfile"], BuildKit.Daemon.Solving.GatewaySettings.Of(config).AllowedRepositories);
        var registry = Assert.Single(config.Registries);
        Assert.Equal("docker.io", registry.Key);
        Assert.Equal(["mirror.example:5000", "other.example"], registry.Value.Mirrors);
        Assert.Equal((true, true), (registry.Value.PlainHttp, registry.Value.Insecure));
        Assert.Equal(["/etc/ca.pem"], registry.Value.RootCa);
        Assert.Equal(["/etc/certs"], registry.Value.TlsConfigDirs);
        Assert.Equal([("/etc/key.pem", "/etc/cert.pem")], registry.Value.KeyPairs);
        var worker = config.Worker;
        Assert.True(worker.Enabled);
        Assert.Equal(["linux/amd64", "linux/arm64"], worker.Platforms);
        Assert.Equal("native", worker.Snapshotter);
        Assert.True(config.Rootless);
        Assert.True(worker.NoProcessSandbox);
        Assert.False(worker.Gc);
        Assert.Equal(new DiskSpace(0, 30), worker.ReservedSpace);
        Assert.Equal(new DiskSpace(0, 60), worker.MaxUsedSpace);
        Assert.Equal(new DiskSpace(20L << 30, 0), worker.MinFreeSpace);
        Assert.Equal("host", worker.NetworkMode);
        Assert.Equal(("/cni.json", "/cni", 16L), (worker.CniConfigPath, worker.CniBinaryPath, worker.CniPoolSize));
        Assert.Equal(("br0", "10.11.0.0/16"), (worker.BridgeName, worker.BridgeSubnet));
        Assert.Equal(("crun", "/proxy.sock", "buildkit", "p"), (worker.Binary, worker.ProxySnapshotterPath, worker.DefaultCgroupParent, worker.AppArmorProfile));
        Assert.True(worker.SeLinux);
        Assert.Equal(4, worker.MaxParallelism);
        Assert.Equal("c", Assert.Single(worker.Labels, static label => label.Key == "a.b").Value);
        Assert.True(worker.StargzSnapshotter);
        Assert.NotNull(worker.GcPolicy);
        Assert.Collection(
            worker.GcPolicy,
            rule =>
            {
                Assert.False(rule.All);
                Assert.Equal(["type==source.local", "type==exec.cachemount"], rule.Filters);
                Assert.Equal((TimeSpan.FromHours(48), new DiskSpace(512L << 20, 0)), (rule.KeepDuration, rule.ReservedSpace));
            },
            rule =>
            {
                Assert.True(rule.All);
                Assert.Equal((TimeSpan.FromHours(1), new DiskSpace(1024, 0), new DiskSpace(0, 10)), (rule.KeepDuration, rule.MaxUsedSpace, rule.MinFreeSpace));
            });
    }

    [Fact]
    public void An_empty_file_leaves_the_defaults()
    {
        var config = Read("");
        Assert.False(config.Debug);
        Assert.Equal("text", config.LogFormat);
        Assert.Empty(config.Addresses);
        Assert.Equal((null, null), (config.SocketUid, config.SocketGid));
        Assert.Null(config.Dns);
        Assert.Equal(["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"], config.CdiSpecDirs);
        Assert.Equal((TimeSpan.FromHours(48), 50L), (config.HistoryMaxAge, config.HistoryMaxEntries));
        Assert.Equal(TimeSpan.FromSeconds(20), config.PlatformsCacheMaxAge);
        Assert.True(config.DockerfileFrontend);
        Assert.True(config.GatewayFrontend);
        Assert.Empty(config.Registries);
        var worker = config.Worker;
        Assert.Null(worker.Enabled);
        Assert.True(worker.Gc);
        Assert.Null(worker.GcPolicy);
        Assert.Equal(("auto", "auto"), (worker.Snapshotter, worker.NetworkMode));
        Assert.Equal(("/etc/buildkit/cni.json", "/opt/cni/bin", 0L), (worker.CniConfigPath, worker.CniBinaryPath, worker.CniPoolSize));
        Assert.Equal(("buildkit0", "10.10.0.0/16", 0L), (worker.BridgeName, worker.BridgeSubnet, worker.MaxParallelism));
    }

    [Fact]
    public void A_missing_file_is_an_empty_one()
    {
        var config = new DaemonConfig();
        ConfigFile.Load(Path.Combine(Path.GetTempPath(), Path.GetRandomFileName(), "buildkitd.toml"), config);
        Assert.Equal("", config.Root);
    }

    [Fact]
    public void A_file_that_cannot_be_read_is_an_error()
    {
        var error = Assert.Throws<ConfigException>(() => ConfigFile.Load(Path.GetTempPath(), new DaemonConfig()));
        Assert.StartsWith("failed to load config from ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Unknown_keys_are_ignored() =>
        Assert.True(Read("future = 1\ndebug = true\n[future2]\nx = 1\n[worker.oci.future3]\ny = 1").Debug);

    [Fact]
    public void A_history_section_replaces_both_limits() =>
        Assert.Equal(5, Read("[history]\nmaxEntries = 5") is { HistoryMaxAge: { Ticks: 0 } } config ? config.HistoryMaxEntries : -1);

    [Theory]
    [InlineData("60", 60)]
    [InlineData("\"60\"", 60)]
    [InlineData("\"1h2m3s\"", 3723)]
    public void Durations_are_texts_or_seconds(string value, int seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), Read($"[history]\nmaxAge = {value}").HistoryMaxAge);

    [Fact]
    public void The_old_names_of_kept_space_still_count()
    {
        var config = Read("[worker.oci]\ngckeepstorage = 9000\n[[worker.oci.gcpolicy]]\nkeepBytes = \"1KB\"\n[[worker.oci.gcpolicy]]\nkeepBytes = 5\nreservedSpace = 7");
        Assert.Equal(new DiskSpace(9000, 0), config.Worker.ReservedSpace);
        Assert.Equal([new DiskSpace(1024, 0), new DiskSpace(7, 0)], config.Worker.GcPolicy!.Select(static rule => rule.ReservedSpace));
    }

    [Theory]
    [InlineData("debug = 1", "failed to parse config: debug must be true or false")]
    [InlineData("root = 1", "failed to parse config: root must be a string")]
    [InlineData("[grpc]\naddress = \"x\"", "failed to parse config: grpc.address must be a list of strings")]
    [InlineData("[grpc]\naddress = [1]", "failed to parse config: grpc.address must be a list of strings")]
    [InlineData("[grpc]\nuid = \"x\"", "failed to parse config: grpc.uid must be an integer")]
    [InlineData("worker = 1", "failed to parse config: worker must be a table")]
    [InlineData("[worker.oci]\ngcpolicy = 1", "failed to parse config: worker.oci.gcpolicy must be an array of tables")]
    [InlineData("[worker.oci]\nminFreeSpace = \"lots\"", "failed to parse config: worker.oci.minFreeSpace: invalid size: 'lots'")]
    [InlineData("[history]\nmaxAge = \"long\"", "failed to parse config: history.maxAge must be a duration such as \"48h\" or a number of seconds")]
    [InlineData("debug = ", "failed to parse config: (1, 9): expected a value, found the end")]
    public void A_wrong_value_names_its_key(string toml, string message) =>
        Assert.Equal(message, Assert.Throws<ConfigException>(() => Read(toml)).Message);

    private static DaemonConfig Read(string toml)
    {
        var config = new DaemonConfig();
        ConfigFile.Apply(Encoding.UTF8.GetBytes(toml), config);
        return config;
    }
}
