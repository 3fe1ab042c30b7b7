using BuildKit.CommandLine;
using BuildKit.Daemon.Configuration;

namespace BuildKit.Tests.Daemon;

/// <summary>Flags over file over defaults (spec 06 §10.2).</summary>
public sealed class DaemonFlagsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("daemon-flags-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Without_flags_and_file_the_defaults_hold()
    {
        var config = Load("");
        Assert.Equal("/var/lib/buildkit", config.Root);
        Assert.Equal(["unix:///run/buildkit/buildkitd.sock"], config.Addresses);
        Assert.Equal("/run/buildkit/otel-grpc.sock", config.OtelSocketPath);
        Assert.False(config.Rootless);
    }

    [Fact]
    public void Flags_override_the_file()
    {
        const string file = """
            debug = true
            root = "/from-file"
            insecure-entitlements = [ "security.insecure" ]
            [grpc]
            address = [ "tcp://1.2.3.4:5" ]
            [worker.oci]
            enabled = false
            snapshotter = "native"
            gc = true
            networkMode = "host"
            binary = "runc"
            [worker.oci.labels]
            a = "1"
            b = "2"
            """;
        var config = Load(
            file, "--debug=false", "--trace", "--root", "/from-flag", "--addr", "unix:///a", "-addr=tcp://b", "--log-format=json",
            "--group", "1234", "--debugaddr", ":6060", "--tlscert=c", "--tlskey=k", "--tlscacert=ca", "--allow-insecure-entitlement", "network.host",
            "--otel-socket-path=/o", "--cdi-disabled", "--cdi-spec-dir=/x", "--cdi-spec-dir=/y", "--oci-worker=true", "--oci-worker-labels=b=3",
            "--oci-worker-labels", "c=d=e", "--oci-worker-snapshotter=overlayfs", "--oci-worker-proxy-snapshotter-path=/p", "--oci-worker-platform=linux/amd64",
            "--oci-worker-net=cni", "--oci-cni-config-path=/cni.json", "--oci-cni-binary-dir=/cni", "--oci-cni-pool-size=3", "--oci-worker-binary=crun",
            "--oci-worker-apparmor-profile=prof", "--oci-worker-selinux", "--oci-worker-no-process-sandbox", "--oci-worker-gc=false",
            "--oci-worker-gc-keepstorage=10,20,30", "--oci-max-parallelism=6");
        Assert.False(config.Debug);
        Assert.True(config.Trace);
        Assert.Equal("/from-flag", config.Root);
        Assert.Equal(["unix:///a", "tcp://b"], config.Addresses);
        Assert.Equal("json", config.LogFormat);
        Assert.Equal(1234, config.SocketGid);
        Assert.Equal(":6060", config.DebugAddress);
        Assert.Equal(("c", "k", "ca"), (config.TlsCert, config.TlsKey, config.TlsCa));
        Assert.Equal(["network.host"], config.InsecureEntitlements);
        Assert.Equal("/o", config.OtelSocketPath);
        Assert.True(config.CdiDisabled);
        Assert.Equal(["/x", "/y"], config.CdiSpecDirs);
        var worker = config.Worker;
        Assert.True(worker.Enabled);
        Assert.Equal([("a", "1"), ("b", "3"), ("c", "d=e")], worker.Labels.OrderBy(static l => l.Key, StringComparer.Ordinal).Select(static l => (l.Key, l.Value)));
        Assert.Equal(("overlayfs", "/p", "cni"), (worker.Snapshotter, worker.ProxySnapshotterPath, worker.NetworkMode));
        Assert.Equal(["linux/amd64"], worker.Platforms);
        Assert.Equal(("/cni.json", "/cni", 3L), (worker.CniConfigPath, worker.CniBinaryPath, worker.CniPoolSize));
        Assert.Equal(("crun", "prof"), (worker.Binary, worker.AppArmorProfile));
        Assert.True(worker.SeLinux);
        Assert.True(worker.NoProcessSandbox);
        Assert.False(worker.Gc);
        Assert.Equal(6, worker.MaxParallelism);
        // Reserved, free, maximum, in millions of bytes.
        Assert.Equal(
            (new DiskSpace(10_000_000, 0), new DiskSpace(20_000_000, 0), new DiskSpace(30_000_000, 0)),
            (worker.ReservedSpace, worker.MinFreeSpace, worker.MaxUsedSpace));
    }

    [Fact]
    public void Flags_that_are_not_given_leave_the_file_alone()
    {
        var config = Load("root = \"/r\"\n[grpc]\naddress = [ \"tcp://a\" ]\n[worker.oci]\ngc = false\nreservedSpace = 5\nminFreeSpace = 6", "--oci-worker-gc-keepstorage=1");
        Assert.Equal("/r", config.Root);
        Assert.Equal(["tcp://a"], config.Addresses);
        Assert.False(config.Worker.Gc);
        Assert.Equal((new DiskSpace(1_000_000, 0), new DiskSpace(6, 0)), (config.Worker.ReservedSpace, config.Worker.MinFreeSpace));
    }

    [Theory]
    [InlineData("auto", null)]
    [InlineData("true", true)]
    [InlineData("0", false)]
    public void The_worker_is_on_off_or_auto(string value, bool? expected) =>
        Assert.Equal(expected, Load("[worker.oci]\nenabled = true", "--oci-worker=" + value).Worker.Enabled);

    [Fact]
    public void A_group_is_a_name_or_an_id()
    {
        Assert.Equal(999, Load("[grpc]\ngid = 5", "--group=docker").SocketGid);
        Assert.Equal(5, Load("[grpc]\ngid = 5").SocketGid);
    }

    [Theory]
    [InlineData("--group=nobody-knows")]
    [InlineData("--oci-worker=maybe")]
    [InlineData("--oci-worker-gc-keepstorage=1,2,3,4")]
    [InlineData("--oci-worker-gc-keepstorage=10GB")]
    [InlineData("--oci-worker-gc-keepstorage=")]
    public void A_value_that_cannot_be_used_is_refused(string flag) => Assert.Throws<ConfigException>(() => Load("", flag));

    [Fact]
    public void A_label_without_a_value_is_refused() =>
        Assert.Equal("invalid value novalue", Assert.Throws<ConfigException>(() => Load("", "--oci-worker-labels=novalue")).Message);

    [Theory]
    [InlineData("--rootless")]
    [InlineData("--oci-worker-rootless")]
    public void Rootless_may_be_asked_for(string flag) => Assert.True(Load("", flag).Rootless);

    [Fact]
    public void A_user_namespace_is_rootless_unless_told_otherwise()
    {
        var path = Path.Combine(_folder, "none.toml");
        Assert.True(DaemonFlags.Load(new FlagSet(DaemonFlags.All).Parse(["--config", path]), true, static _ => null).Rootless);
        Assert.False(DaemonFlags.Load(new FlagSet(DaemonFlags.All).Parse(["--config", path, "--rootless=false"]), true, static _ => null).Rootless);
    }

    [Theory]
    [InlineData("--containerd-worker=false")]
    [InlineData("--containerd-worker-addr=/run/x")]
    [InlineData("--containerd-worker-gc-keepstorage=9000")]
    [InlineData("--containerd-cni-pool-size=1")]
    public void Flags_of_the_other_worker_are_accepted(string flag) => Assert.NotNull(Load("", flag));

    [Fact]
    public void Images_of_the_Dockerfile_frontend_are_substituted_unless_a_flag_or_the_file_says_no()
    {
        Assert.True(Load("").SubstituteDockerfile);
        Assert.False(Load("", "--substitute-dockerfile=false").SubstituteDockerfile);
        Assert.True(Load("[frontend.\"gateway.v0\"]\nsubstituteDockerfile = false\n", "--substitute-dockerfile").SubstituteDockerfile);
    }

    [Fact]
    public void Names_of_flags_are_unique()
    {
        var names = DaemonFlags.All.SelectMany(static flag => flag.Names).ToList();
        Assert.Equal(names.Distinct(StringComparer.Ordinal), names);
    }

    [Fact]
    public void The_help_lists_every_flag_that_is_not_hidden()
    {
        var help = DaemonHelp.Text();
        Assert.All(DaemonFlags.All, flag => Assert.Equal(!flag.Hidden, help.Contains($"--{flag.Name}", StringComparison.Ordinal)));
    }

    private DaemonConfig Load(string toml, params string[] arguments)
    {
        var path = Path.Combine(_folder, "buildkitd.toml");
        File.WriteAllText(path, toml);
        return DaemonFlags.Load(new FlagSet(DaemonFlags.All).Parse(["--config", path, .. arguments]), false, static name => name == "docker" ? 999 : null);
    }
}
