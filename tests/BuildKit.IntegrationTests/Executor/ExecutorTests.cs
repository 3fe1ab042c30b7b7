using System.Text;
using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using BuildKit.Worker.Executor;
using Microsoft.Extensions.Logging.Abstractions;

namespace BuildKit.IntegrationTests.Executor;

/// <summary>Containers run by the real runtimes on a busybox root.</summary>
public sealed class ExecutorTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("buildkit-executor").FullName;
    private readonly StringBuilder _stdout = new();
    private readonly StringBuilder _stderr = new();

    public static TheoryData<string> Runtimes => ["runc", "crun"];

    private string Root => Path.Combine(_directory, "root");

    public void Dispose()
    {
        foreach (var mount in MountTable.Below(_directory).Reverse())
            Linux.Mounts.UnmountAll(mount.MountPoint);
        Directory.Delete(_directory, recursive: true);
    }

    [RequiresTheory("root", "runc", "crun", "busybox")]
    [MemberData(nameof(Runtimes))]
    public async Task A_process_sees_its_environment_user_and_directory(string binary)
    {
        MakeRoot("bob:x:1000:1001::/home/bob:/bin/sh\nroot:x:0:0::/:/bin/sh\n", "wheel:x:10:bob\nbob:x:1001:\n");
        using var runtime = Runtime(binary, out var executor);
        await executor.RunAsync(Request("id; pwd; echo $A; echo $PATH; hostname; cat /etc/hosts; touch made; stat -c %u:%g /made /made/wd", p => p with
        {
            User = "bob",
            Cwd = "/made/wd",
            Env = ["A=first", StepEnvironment.DefaultPath, "A=second"],
        }), default);
        Assert.Equal("""
            uid=1000(bob) gid=1001(bob) groups=10(wheel),1001(bob)
            /made/wd
            second
            /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            buildkitsandbox
            127.0.0.1	localhost buildkitsandbox
            ::1	localhost ip6-localhost ip6-loopback
            1000:1001
            1000:1001

            """, _stdout.ToString());
    }

    [RequiresTheory("root", "runc", "crun", "busybox")]
    [MemberData(nameof(Runtimes))]
    public async Task A_failing_process_gives_its_exit_code_and_leaves_nothing(string binary)
    {
        MakeRoot();
        using var runtime = Runtime(binary, out var executor);
        var error = await Assert.ThrowsAsync<ExitException>(() => executor.RunAsync(Request("echo out; echo err >&2; exit 7"), default));
        Assert.Equal(7, error.Code);
        Assert.Equal("exit code: 7", error.Message);
        Assert.Equal("out\n", _stdout.ToString());
        Assert.Equal("err\n", _stderr.ToString());
        Assert.Empty(runtime.LeftoverIds());
        Assert.Empty(MountTable.Below(_directory));
        Assert.False(File.Exists(Path.Combine(Root, "etc/hosts")), "the mount point stub of /etc/hosts stayed");
        Assert.False(Directory.Exists(Path.Combine(_directory, "executor", "c1")), "the bundle stayed");
    }

    [RequiresTheory("root", "runc", "crun", "busybox")]
    [MemberData(nameof(Runtimes))]
    public async Task Cancelling_kills_the_container(string binary)
    {
        MakeRoot();
        using var runtime = Runtime(binary, out var executor);
        using var cancel = new CancellationTokenSource();
        var run = executor.RunAsync(Request("trap '' TERM INT; echo up; sleep 1000", started: null, onOutput: () => cancel.Cancel()), cancel.Token);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Empty(runtime.LeftoverIds());
        Assert.Empty(MountTable.Below(_directory));
    }

    [RequiresFact("root", "runc", "busybox")]
    public async Task A_part_of_a_mount_is_resolved_inside_it()
    {
        MakeRoot();
        var source = Path.Combine(_directory, "source");
        Directory.CreateDirectory(Path.Combine(source, "sub"));
        File.WriteAllText(Path.Combine(source, "sub/file"), "inside\n");
        File.CreateSymbolicLink(Path.Combine(source, "link"), "/sub");
        using var runtime = Runtime("runc", out var executor);
        await executor.RunAsync(
            Request("cat /mnt/x/file; cat /mnt/f") with
            {
                Mounts =
                [
                    new ContainerMount("/mnt/x", new Bind(source, readOnly: true), "/link"),
                    new ContainerMount("/mnt/f", new Bind(source, readOnly: true), "/sub/file"),
                ],
            }, default);
        Assert.Equal("inside\ninside\n", _stdout.ToString());
        var missing = Request("true") with { Mounts = [new ContainerMount("/mnt/x", new Bind(source, readOnly: true), "/nope")] };
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => executor.RunAsync(missing, default));
        Assert.Contains("/nope: no such file or directory", error.Message, StringComparison.Ordinal);
        Assert.Empty(MountTable.Below(_directory));
    }

    [RequiresFact("root", "runc", "busybox")]
    public async Task No_network_has_only_loopback_and_the_host_network_is_the_hosts()
    {
        MakeRoot();
        using var runtime = Runtime("runc", out var executor);
        await executor.RunAsync(Request("ls /sys/class/net") with { Network = NetworkMode.None }, default);
        Assert.Equal("lo\n", _stdout.ToString());
        _stdout.Clear();
        await executor.RunAsync(Request("readlink /proc/self/ns/net") with { Network = NetworkMode.Host }, default);
        Assert.Equal(File.ResolveLinkTarget("/proc/self/ns/net", false)!.Name + "\n", _stdout.ToString());
    }

    [RequiresFact("root", "runc", "busybox")]
    public async Task A_sandbox_has_few_capabilities_and_an_insecure_step_the_daemons()
    {
        MakeRoot();
        using var runtime = Runtime("runc", out var executor);
        await executor.RunAsync(Request("grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; test ! -e /dev/fuse"), default);
        Assert.Equal("CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n", _stdout.ToString());
        _stdout.Clear();
        await executor.RunAsync(Request("grep -E 'Seccomp:' /proc/self/status; ls -d /dev/fuse") with { Security = SecurityMode.Insecure }, default);
        Assert.Equal("Seccomp:\t0\n/dev/fuse\n", _stdout.ToString());
    }

    private ContainerRequest Request(
        string script, Func<ContainerProcess, ContainerProcess>? change = null, Action? started = null, Action? onOutput = null)
    {
        var process = new ContainerProcess
        {
            Args = ["/bin/sh", "-c", script],
            Env = [StepEnvironment.DefaultPath],
            Stdout = bytes => { lock (_stdout) _stdout.Append(Encoding.UTF8.GetString(bytes.Span)); onOutput?.Invoke(); },
            Stderr = bytes => { lock (_stderr) _stderr.Append(Encoding.UTF8.GetString(bytes.Span)); },
        };
        return new ContainerRequest
        {
            Id = "c1",
            Root = new Bind(Root, readOnly: false),
            Process = change is null ? process : change(process),
            RemoveMountStubsRecursive = true,
            Started = started,
        };
    }

    private OciRuntime Runtime(string binary, out RuncExecutor executor)
    {
        var directory = Path.Combine(_directory, "executor");
        Directory.CreateDirectory(directory);
        var host = HostFeatures.Detect(0, userNamespace: false);
        var runtime = OciRuntime.Find(binary == "crun" && host.HybridCgroups ? CrunWithoutHybridCgroups() : binary, host, directory);
        executor = new RuncExecutor(
            new ExecutorOptions
            {
                Directory = directory,
                Host = host,
                Networks = new Dictionary<NetworkMode, INetworkProvider>
                {
                    [NetworkMode.Default] = new HostNetwork(),
                    [NetworkMode.Host] = new HostNetwork(),
                    [NetworkMode.None] = new NoNetwork(),
                },
            },
            runtime, NullLogger<RuncExecutor>.Instance);
        return runtime;
    }

    /// <summary>crun refuses a host with both cgroup versions; the daemon hides the second from itself, a test does it per call.</summary>
    private string CrunWithoutHybridCgroups()
    {
        var path = Path.Combine(_directory, "crun-wrapper");
        File.WriteAllText(path, "#!/bin/sh\nexec unshare --mount --propagation slave sh -c 'umount /sys/fs/cgroup/unified; exec crun \"$@\"' crun \"$@\"\n");
        LinuxFile.Chmod(path, Convert.ToUInt32("755", 8));
        return path;
    }

    private void MakeRoot(string passwd = "root:x:0:0::/:/bin/sh\n", string group = "root:x:0:\n")
    {
        foreach (var directory in (string[])["bin", "etc", "proc", "dev", "sys"])
            Directory.CreateDirectory(Path.Combine(Root, directory));
        File.Copy(Requirement.Locate("busybox")!, Path.Combine(Root, "bin/busybox"));
        foreach (var applet in (string[])["sh", "id", "cat", "ls", "grep", "hostname", "touch", "stat", "sleep", "readlink", "true", "test"])
            File.CreateSymbolicLink(Path.Combine(Root, "bin", applet), "busybox");
        File.WriteAllText(Path.Combine(Root, "etc/passwd"), passwd);
        File.WriteAllText(Path.Combine(Root, "etc/group"), group);
    }

    private sealed class Bind(string path, bool readOnly) : IMountable
    {
        public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) => Task.FromResult(new MountLease(
            [new MountSpec("bind", path, ["rbind", readOnly ? "ro" : "rw"])], () => ValueTask.CompletedTask));
    }
}
