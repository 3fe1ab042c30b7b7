using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Llb;
using BuildKit.Protocol.ErrDefs;
using BuildKit.Protocol.Errors;
using BuildKit.Protocol.Gateway;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Pb;
using BuildKit.Protocol.Services;
using BuildKit.Session.Secrets;
using Google.Protobuf;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Containers that a client's frontend makes of results, and processes in them (spec 01 §6.3).</summary>
public sealed class GatewayContainerTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private State Base => State.Image(fixture.Base);

    private Task<GatewayDriver> StartAsync(params GrpcService[] services) => GatewayDriver.StartAsync(fixture.Daemon.Address, null, services);

    private static ExecMessage.InputOneofCase[] KindsOf(ProcessStream stream, string id) => [.. stream.Seen.Where(m => m.ProcessID == id).Select(m => m.InputCase)];

    [EndToEndFact]
    public async Task A_process_is_told_from_its_start_to_its_end()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["sh", "-c", "echo out; echo err >&2; exit 3"]);
        await stream.FinishAsync();
        Assert.Equal("out\n", stream.Text("p", 1));
        Assert.Equal("err\n", stream.Text("p", 2));
        Assert.Equal(3u, stream.Exit("p").Code);
        Assert.Equal("exit code: 3", stream.Exit("p").Error.Message);
        Assert.Equal(3u, Assert.Single(TypedErrors.Of<ExitMessage>(stream.Exit("p").Error.Details)).Code);
        var kinds = KindsOf(stream, "p");
        Assert.Equal(ExecMessage.InputOneofCase.Started, kinds[0]);
        Assert.Equal(ExecMessage.InputOneofCase.Done, kinds[^1]);
        Assert.Equal([1u, 2u], stream.Seen.Where(m => m.InputCase == ExecMessage.InputOneofCase.File && m.File.EOF).Select(m => m.File.Fd).Order());
        await build.ReturnAsync();
    }

    [EndToEndFact]
    public async Task A_process_that_succeeds_has_no_error()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        var (output, errors, exit) = await build.RunAsync(container, "sh", "-c", "pwd; echo $PATH");
        Assert.Equal(("/\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", ""), (output, errors));
        Assert.Equal(0u, exit.Code);
        Assert.Null(exit.Error);
    }

    [EndToEndFact]
    public async Task Input_is_passed_on_until_its_end()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["cat"], init => init.Fds.Add(0));
        await stream.WriteAsync("p", "first ");
        await stream.UntilTextAsync("p", "first");
        await stream.WriteAsync("p", "second", end: true);
        await stream.FinishAsync();
        Assert.Equal("first second", stream.Text("p", 1));
        Assert.Equal(0u, stream.Exit("p").Code);
    }

    [EndToEndFact]
    public async Task A_lot_of_output_arrives_whole()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        var (output, _, exit) = await build.RunAsync(container, "sh", "-c", "seq 1 400000");
        Assert.Equal(0u, exit.Code);
        Assert.Equal(string.Concat(Enumerable.Range(1, 400000).Select(i => i + "\n")), output);
    }

    [EndToEndFact]
    public async Task Further_processes_share_the_files_and_the_life_of_the_first()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("first", container, ["sh", "-c", "echo hello > /file; cat"], init => init.Fds.Add(0));
        await stream.StartAsync("second", container, ["sh", "-c", "while ! test -e /file; do sleep 0.1; done; cat /file; id -u"], init => init.Meta.User = "app");
        await stream.UntilAsync(m => m.ProcessID == "second" && m.InputCase == ExecMessage.InputOneofCase.Done);
        Assert.Equal("hello\n1000\n", stream.Text("second", 1));
        Assert.Equal(0u, stream.Exit("second").Code);
        await stream.StartAsync("third", container, ["sh", "-c", "sleep 60"]);
        await stream.WriteAsync("first", "", end: true);
        await stream.FinishAsync();
        Assert.Equal(0u, stream.Exit("first").Code);
        Assert.NotEqual(0u, stream.Exit("third").Code);
    }

    [EndToEndFact]
    public async Task Processes_of_one_container_may_be_on_different_streams()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var first = build.OpenProcesses();
        await first.StartAsync("p", container, ["sh", "-c", "touch /here; cat"], init => init.Fds.Add(0));
        var (output, _, _) = await build.RunAsync(container, "sh", "-c", "while ! test -e /here; do sleep 0.1; done; echo seen");
        Assert.Equal("seen\n", output);
        await first.WriteAsync("p", "", end: true);
        await first.FinishAsync();
    }

    [EndToEndFact]
    public async Task A_terminal_has_a_size_and_echoes()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["sh"], init =>
        {
            init.Fds.Add(0);
            init.Tty = true;
        });
        await stream.SendAsync(new ExecMessage { ProcessID = "p", Resize = new ResizeMessage { Rows = 33, Cols = 77 } });
        // The size reaches the terminal of the container some time after the message.
        await stream.WriteAsync("p", "until [ \"$(busybox stty size)\" = '33 77' ]; do sleep 0.1; done; test -t 0 && echo size-is-$(busybox stty size)-$TERM\n");
        await stream.UntilTextAsync("p", "size-is-33 77-xterm");
        await stream.WriteAsync("p", "exit 7\n");
        await stream.FinishAsync();
        Assert.Equal(7u, stream.Exit("p").Code);
        Assert.Contains("exit 7", stream.Text("p", 1), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Signals_reach_the_process()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("first", container, ["sh", "-c", "trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.1; done"]);
        await stream.UntilTextAsync("first", "ready");
        await stream.StartAsync("second", container, ["sh", "-c", "trap 'exit 6' INT; echo ready; while :; do sleep 0.1; done"]);
        await stream.UntilTextAsync("second", "ready");
        await stream.SendAsync(new ExecMessage { ProcessID = "second", Signal = new SignalMessage { Name = "INT" } });
        await stream.UntilAsync(m => m.ProcessID == "second" && m.InputCase == ExecMessage.InputOneofCase.Exit);
        Assert.Equal(6u, stream.Exit("second").Code);
        await stream.SendAsync(new ExecMessage { ProcessID = "first", Signal = new SignalMessage { Name = "USR1" } });
        await stream.UntilAsync(m => m.ProcessID == "first" && m.InputCase == ExecMessage.InputOneofCase.Exit);
        Assert.Equal(5u, stream.Exit("first").Code);
        Assert.Contains("got it", stream.Text("first", 1), StringComparison.Ordinal);
        await stream.FinishAsync();
    }

    [EndToEndFact]
    public async Task A_signal_right_after_the_start_reaches_the_process_and_not_the_runtime()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["sleep", "60"]);
        await stream.SendAsync(new ExecMessage { ProcessID = "p", Signal = new SignalMessage { Name = "KILL" } });
        await stream.FinishAsync();
        Assert.Equal(137u, stream.Exit("p").Code);
    }

    [EndToEndFact]
    public async Task Mounts_are_results_caches_secrets_and_memory()
    {
        await using var build = await StartAsync(SecretsProvider.Create(new Dictionary<string, SecretSource>(StringComparer.Ordinal) { ["tok"] = SecretSource.FromBytes("geheim"u8.ToArray()) }));
        var root = await build.SolveAsync(Base);
        var other = await build.SolveAsync(State.Scratch.File(Files.Mkfile("/data", 0x1A4, "from a result"u8.ToArray())));
        var container = await build.NewContainerAsync(
            root,
            new Mount { Dest = "/ro", ResultID = other, Readonly = true },
            new Mount { Dest = "/rw", ResultID = other },
            new Mount { Dest = "/empty" },
            new Mount { Dest = "/cache", MountType = MountType.Cache, CacheOpt = new CacheOpt { ID = Guid.NewGuid().ToString("N") } },
            new Mount { Dest = "/mem", MountType = MountType.Tmpfs },
            new Mount { Dest = "/run/tok", MountType = MountType.Secret, SecretOpt = new SecretOpt { ID = "tok", Mode = 0x100 } },
            new Mount { Dest = "/run/missing", MountType = MountType.Secret, SecretOpt = new SecretOpt { ID = "nope", Optional = true } });
        await using var stream = build.OpenProcesses();
        await stream.StartAsync(
            "p", container,
            ["sh", "-c", "cat /ro/data; echo; touch /ro/x 2>/dev/null || echo read-only; echo more >> /rw/data; cat /rw/data; ls /empty; touch /cache/a /empty/b; grep -c '^tmpfs /mem ' /proc/mounts; cat /run/tok; echo; test -e /run/missing || echo none; echo $TOK"],
            init => init.Secretenv.Add(new SecretEnv { ID = "tok", Name = "TOK" }));
        await stream.FinishAsync();
        Assert.Equal("from a result\nread-only\nfrom a resultmore\n1\ngeheim\nnone\ngeheim\n", stream.Text("p", 1));
        // What was written is thrown away.
        Assert.Equal("from a result", await build.ReadAsync(other, "/data"));
    }

    [EndToEndFact]
    public async Task A_container_has_the_host_names_it_was_given()
    {
        await using var build = await StartAsync();
        var request = new NewContainerRequest
        {
            ContainerID = "named",
            Mounts = { new Mount { Dest = "/", ResultID = await build.SolveAsync(Base) } },
            Hostname = "box",
            ExtraHosts = { new HostIP { Host = "elsewhere", IP = "192.0.2.7" } },
            Network = NetMode.None,
        };
        await build.CallAsync(LLBBridgeMethods.NewContainer, request);
        var (output, _, _) = await build.RunAsync("named", "sh", "-c", "hostname; grep elsewhere /etc/hosts | tr '\\t' ' '; ip -o link | grep -vc lo:");
        Assert.Equal("box\n192.0.2.7 elsewhere\n0\n", output);
        request.ContainerID = "wrong";
        request.ExtraHosts[0].IP = "nowhere";
        var refused = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.NewContainer, request));
        Assert.Equal("failed to parse IP nowhere", refused.Message);
    }

    [EndToEndFact]
    public async Task What_the_build_was_not_granted_is_refused()
    {
        await using var build = await StartAsync();
        var root = await build.SolveAsync(Base);
        await build.CallAsync(LLBBridgeMethods.NewContainer, new NewContainerRequest { ContainerID = "host", Mounts = { new Mount { Dest = "/", ResultID = root } }, Network = NetMode.Host });
        var (_, _, exit) = await build.RunAsync("host", "true");
        Assert.Equal((255u, "network.host is not allowed"), (exit.Code, exit.Error.Message));
        var container = await build.NewContainerAsync(root);
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["true"], init => init.Security = Protocol.Pb.SecurityMode.Insecure);
        await stream.FinishAsync();
        Assert.Equal((255u, "security.insecure is not allowed"), (stream.Exit("p").Code, stream.Exit("p").Error.Message));
    }

    [EndToEndFact]
    public async Task A_program_that_is_not_there_never_runs()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        var (_, _, exit) = await build.RunAsync(container, "/no/such/program");
        Assert.NotEqual(0u, exit.Code);
        Assert.NotNull(exit.Error);
    }

    [EndToEndFact]
    public async Task Wrong_messages_end_the_stream_with_the_reason()
    {
        await using var build = await StartAsync();
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await RefusedAsync(StatusCode.InvalidArgument, "ProcessID required", new ExecMessage { File = new FdMessage() });
        await RefusedAsync(StatusCode.NotFound, "IO for process \"x\" not found", new ExecMessage { ProcessID = "x", File = new FdMessage() });
        await RefusedAsync(StatusCode.NotFound, "IO for process \"x\" not found", new ExecMessage { ProcessID = "x", Resize = new ResizeMessage() });
        await RefusedAsync(StatusCode.NotFound, "container \"nope\" previously released or not created", Init("p", "nope"));
        await RefusedAsync(StatusCode.AlreadyExists, "Process p already exists", Init("p", container), Init("p", container));
        await RefusedAsync(StatusCode.InvalidArgument, "Unknown signal SIGINT", Init("q", container), new ExecMessage { ProcessID = "q", Signal = new SignalMessage { Name = "SIGINT" } });
        await RefusedAsync(StatusCode.OutOfRange, "fd 0 unavailable to write", Init("r", container), new ExecMessage { ProcessID = "r", File = new FdMessage { Data = ByteString.CopyFromUtf8("x") } });
        var twice = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.NewContainer, new NewContainerRequest { ContainerID = container, Mounts = { new Mount { Dest = "/" } } }));
        Assert.Equal((StatusCode.AlreadyExists, $"Container {container} already exists"), (twice.Code, twice.Message));
        var unknown = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.ReleaseContainer, new ReleaseContainerRequest { ContainerID = "zzz" }));
        Assert.Equal((StatusCode.Unknown, "container details for zzz not found"), (unknown.Code, unknown.Message));
        var missing = await Assert.ThrowsAsync<RpcException>(() => build.NewContainerAsync("zzz"));
        Assert.Equal("failed to find ref zzz for \"/\" mount: return reference zzz not found", missing.Message);
        await build.ReturnAsync();

        static ExecMessage Init(string id, string container) =>
            new() { ProcessID = id, Init = new InitMessage { ContainerID = container, Meta = new Meta { Args = { "sleep", "1" } }, Fds = { 1 } } };

        async Task RefusedAsync(StatusCode code, string text, params ExecMessage[] messages)
        {
            await using var stream = build.OpenProcesses();
            var error = await Assert.ThrowsAsync<RpcException>(async () =>
            {
                foreach (var message in messages)
                    await stream.SendAsync(message);
                await stream.UntilAsync(_ => false);
            });
            Assert.Equal((code, text), (error.Code, error.Message));
        }
    }

    [EndToEndFact]
    public async Task A_released_container_kills_what_runs_in_it()
    {
        await using var build = await StartAsync();
        var mark = "77" + Random.Shared.Next(10000, 99999);
        var container = await build.NewContainerAsync(await build.SolveAsync(Base));
        await using var stream = build.OpenProcesses();
        await stream.StartAsync("p", container, ["sh", "-c", $"echo ready; sleep {mark}"]);
        await stream.UntilTextAsync("p", "ready");
        await build.CallAsync(LLBBridgeMethods.ReleaseContainer, new ReleaseContainerRequest { ContainerID = container });
        Assert.Empty(HostProcesses.With($"sleep {mark}"));
        await stream.FinishAsync();
        Assert.Equal((137u, "exit code: 137: context canceled"), (stream.Exit("p").Code, stream.Exit("p").Error.Message));
    }

    [EndToEndFact]
    public async Task Containers_end_with_their_build()
    {
        var mark = "78" + Random.Shared.Next(10000, 99999);
        await using (var build = await StartAsync())
        {
            var container = await build.NewContainerAsync(await build.SolveAsync(Base));
            await using var stream = build.OpenProcesses();
            await stream.StartAsync("p", container, ["sh", "-c", $"echo ready; sleep {mark}"]);
            await stream.UntilTextAsync("p", "ready");
            await build.ReturnAsync();
            await HostProcesses.GoneAsync($"sleep {mark}");
        }
        await using (var build = await StartAsync())
        {
            var container = await build.NewContainerAsync(await build.SolveAsync(Base));
            await using var stream = build.OpenProcesses();
            await stream.StartAsync("p", container, ["sh", "-c", $"echo ready; sleep {mark}"]);
            await stream.UntilTextAsync("p", "ready");
        }
        await HostProcesses.GoneAsync($"sleep {mark}");
        Assert.Empty(MountTable.Below(Path.Combine(fixture.Daemon.Root, "runc-overlayfs", "executor")).Where(m => m.MountPoint.EndsWith("rootfs", StringComparison.Ordinal)));
    }

    [EndToEndFact]
    public async Task What_a_failed_step_left_can_be_looked_at_in_a_container()
    {
        await using var build = await StartAsync();
        var mark = Guid.NewGuid().ToString("N");
        var failing = Base.Run(new RunOptions { Args = ["/bin/sh", "-c", $"echo {mark} > /left; exit 9"] });
        var request = await GatewayDriver.RequestAsync(failing, evaluate: true);
        var error = await Assert.ThrowsAsync<RpcException>(() => build.CallAsync(LLBBridgeMethods.Solve, request));
        Assert.Equal($"process \"/bin/sh -c echo {mark} > /left; exit 9\" did not complete successfully: exit code: 9", error.Message);
        var solve = Assert.Single(TypedErrors.Of<Solve>(error.Details));
        Assert.Equal(9u, Assert.Single(TypedErrors.Of<ExitMessage>(error.Details)).Code);
        Assert.Equal("exit 9", solve.Op.Exec.Meta.Args[2].Split("; ")[1]);
        Assert.Single(solve.InputIDs);
        var container = await build.NewContainerAsync(Assert.Single(solve.MountIDs));
        Assert.Equal(mark + "\n", (await build.RunAsync(container, "cat", "/left")).Output);
        var before = await build.NewContainerAsync(Assert.Single(solve.InputIDs));
        Assert.Equal(1u, (await build.RunAsync(before, "test", "-e", "/left")).Exit.Code);
    }
}
