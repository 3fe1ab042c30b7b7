using System.Net.Sockets;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>What a RUN sees: mounts, network, users, directories.</summary>
public sealed class RunTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    /// <summary>Builds steps on the base image; the text they leave in /out.</summary>
    private async Task<string> OutputAsync(string steps, string[]? arguments = null, Action<ContextDirectory>? fill = null)
    {
        using var context = new ContextDirectory($"FROM {fixture.Base} AS work\n{steps}\nFROM scratch\nCOPY --from=work /out /out\n");
        fill?.Invoke(context);
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, ["--output", $"type=local,dest={output.Path}/o", .. arguments ?? []])).Succeeded();
        return await File.ReadAllTextAsync($"{output.Path}/o/out");
    }

    [EndToEndFact]
    public async Task A_cache_mount_keeps_its_files_between_builds_and_out_of_the_image()
    {
        var id = Guid.NewGuid().ToString("N");
        string Step(int run) => $"RUN --mount=type=cache,id={id},target=/cache echo {run} >> /cache/log; cat /cache/log > /out\nRUN test ! -e /cache && echo gone >> /out";
        Assert.Equal("1\ngone\n", await OutputAsync(Step(1)));
        Assert.Equal("1\n2\ngone\n", await OutputAsync(Step(2)));
    }

    [EndToEndFact]
    public async Task A_cache_mount_takes_its_mode_and_owner()
    {
        Assert.Equal("711 1000 1001\n", await OutputAsync($"RUN --mount=type=cache,id={Guid.NewGuid():N},target=/cache,mode=0711,uid=1000,gid=1001 stat -c '%a %u %g' /cache > /out"));
    }

    [EndToEndFact]
    public async Task A_locked_cache_mount_belongs_to_one_step_at_a_time()
    {
        var id = Guid.NewGuid().ToString("N");
        string Stage(string name) =>
            $"FROM {fixture.Base} AS {name}\nRUN --mount=type=cache,id={id},target=/m,sharing=locked mkdir /m/busy && sleep 1 && rm -r /m/busy && echo {name} > /{name}\n";
        using var context = new ContextDirectory(Stage("a") + Stage("b") + Stage("c") + "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n");
        (await Client.BuildAsync(context)).Succeeded();
    }

    [EndToEndFact]
    public async Task A_private_cache_mount_is_another_for_each_step_at_once()
    {
        var id = Guid.NewGuid().ToString("N");
        string Stage(string name) =>
            $"FROM {fixture.Base} AS {name}\nRUN --mount=type=cache,id={id},target=/m,sharing=private touch /m/{name}; sleep 2; ls /m > /{name}\n";
        using var context = new ContextDirectory(Stage("a") + Stage("b") + "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n");
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("a\n", await File.ReadAllTextAsync($"{output.Path}/o/a"));
        Assert.Equal("b\n", await File.ReadAllTextAsync($"{output.Path}/o/b"));
    }

    [EndToEndFact]
    public async Task A_tmpfs_mount_is_empty_memory_of_the_given_size()
    {
        var output = await OutputAsync("RUN --mount=type=tmpfs,target=/mem,size=4m grep ' /mem ' /proc/mounts > /out; ls /mem >> /out; dd if=/dev/zero of=/mem/big bs=1M count=8 || echo full >> /out\nRUN test ! -e /mem && echo gone >> /out");
        Assert.StartsWith("tmpfs /mem tmpfs ", output, StringComparison.Ordinal);
        Assert.Contains("size=4096k", output, StringComparison.Ordinal);
        Assert.EndsWith("\nfull\ngone\n", output, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_secret_is_a_file_only_in_its_step()
    {
        using var secrets = new ContextDirectory().Write("s", "geheim");
        var output = await OutputAsync(
            "RUN --mount=type=secret,id=one cat /run/secrets/one > /out; stat -c ' %a %u:%g' /run/secrets/one >> /out\n"
            + "RUN --mount=type=secret,id=one,target=/etc/tok,mode=0444,uid=5,gid=6 stat -c '%a %u:%g' /etc/tok >> /out\n"
            + "RUN test ! -s /etc/tok; test ! -e /run/secrets/one && echo gone >> /out",
            ["--secret", $"id=one,src={secrets["s"]}"]);
        Assert.Equal("geheim 400 0:0\n444 5:6\ngone\n", output);
    }

    [EndToEndFact]
    public async Task A_secret_is_an_environment_variable_of_its_step()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN --mount=type=secret,id=tok,env=TOKEN test \"$TOKEN\" = from-env-{Guid.NewGuid():N}\nRUN test -z \"$TOKEN\"\n");
        var value = (await File.ReadAllTextAsync(context["Dockerfile"])).Split("= ")[1].Split('\n')[0];
        (await Client.RunAsync(["build", "--frontend", "dockerfile.v0", "--local", "context=" + context.Path, "--local", "dockerfile=" + context.Path, "--secret", "id=tok,env=TOKEN_OF_TEST"], more: new Dictionary<string, string?>(StringComparer.Ordinal) { ["TOKEN_OF_TEST"] = value })).Succeeded();
    }

    [EndToEndFact]
    public async Task A_missing_secret_is_left_out_unless_required()
    {
        Assert.Equal("none\n", await OutputAsync("RUN --mount=type=secret,id=nope test ! -e /run/secrets/nope && echo none > /out"));
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN --mount=type=secret,id=nope,required=true true\n");
        var failed = (await Client.BuildPlainAsync(context)).Failed();
        Assert.Contains("error: failed to solve: secret nope: not found", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("   2 | >>> RUN --mount=type=secret,id=nope,required=true true", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact("gcc")]
    public async Task An_ssh_mount_reaches_the_agent_of_the_client()
    {
        using var agent = new ContextDirectory();
        using var program = new ContextDirectory().Write("ask.c", AskAgent);
        (await Programs.RunAsync("gcc", ["-static", "-o", program["ask"], program["ask.c"]])).Succeeded();
        var bytes = await File.ReadAllBytesAsync(program["ask"]);
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(agent["agent"]));
        listener.Listen();
        var answering = AnswerAsync(listener);
        var output = await OutputAsync(
            "COPY --chmod=755 ask /ask\nRUN --mount=type=ssh stat -c '%a' $SSH_AUTH_SOCK > /out; /ask >> /out; echo $SSH_AUTH_SOCK >> /out\nRUN test -z \"$SSH_AUTH_SOCK\" && echo gone >> /out",
            ["--ssh", "default=" + agent["agent"]],
            context => context.Write("ask", bytes));
        Assert.Equal("600\n0 0 0 5 12 0 0 0 0\n/run/buildkit/ssh_agent.0\ngone\n", output);
        listener.Close();
        await answering;
    }

    /// <summary>An agent without keys: the answer to "which identities" is an empty list.</summary>
    private static async Task AnswerAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                using var connection = await listener.AcceptAsync();
                var request = new byte[256];
                while (await connection.ReceiveAsync(request) > 0)
                    await connection.SendAsync(new byte[] { 0, 0, 0, 5, 12, 0, 0, 0, 0 });
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The listener was closed.
        }
    }

    private const string AskAgent = """
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        #include <unistd.h>
        int main(void) {
            struct sockaddr_un a = { .sun_family = AF_UNIX };
            unsigned char ask[] = { 0, 0, 0, 1, 11 }, got[9];
            strcpy(a.sun_path, getenv("SSH_AUTH_SOCK"));
            int s = socket(AF_UNIX, SOCK_STREAM, 0), n = 0, r;
            if (connect(s, (void *)&a, sizeof a) || write(s, ask, 5) != 5) { perror("agent"); return 1; }
            while (n < 9 && (r = read(s, got + n, 9 - n)) > 0) n += r;
            for (int i = 0; i < n; i++) printf(i ? " %d" : "%d", got[i]);
            puts("");
            return 0;
        }
        """;

    [EndToEndFact]
    public async Task A_bind_mount_shows_the_context_and_writes_to_it_are_dropped()
    {
        Assert.Equal("hello\nro\n", await OutputAsync(
            "RUN --mount=type=bind,target=/ctx cat /ctx/f > /out; touch /ctx/new 2>/dev/null || echo ro >> /out", fill: context => context.Write("f", "hello\n")));
        Assert.Equal("1\n0\n", await OutputAsync(
            "RUN --mount=type=bind,target=/ctx,rw touch /ctx/new; ls /ctx | grep -c new > /out\nRUN --mount=type=bind,target=/ctx ls /ctx | grep -c new >> /out; true", fill: context => context.Write("f", "hello\n")));
    }

    [EndToEndFact]
    public async Task A_bind_mount_shows_another_stage()
    {
        using var context = new ContextDirectory($"""
            FROM {fixture.Base} AS other
            RUN mkdir -p /data/sub && echo from-stage > /data/sub/f
            FROM {fixture.Base} AS work
            RUN --mount=type=bind,from=other,source=/data/sub,target=/mnt/x cat /mnt/x/f > /out
            FROM scratch
            COPY --from=work /out /out
            """);
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        Assert.Equal("from-stage\n", await File.ReadAllTextAsync($"{output.Path}/o/out"));
    }

    [EndToEndFact]
    public async Task Without_network_there_is_only_loopback()
    {
        Assert.Equal("lo\n", await OutputAsync("RUN --network=none ls /sys/class/net > /out"));
    }

    [EndToEndFact]
    public async Task The_host_network_needs_leave_and_is_the_hosts()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN --network=host wget -q -O /out http://{fixture.Registry.Host}/v2/\n");
        var refused = (await Client.BuildPlainAsync(context)).Failed();
        Assert.Contains("network.host is not allowed", refused.Errors, StringComparison.Ordinal);
        await using var daemon = await DaemonProcess.StartAsync(configuration: "insecure-entitlements = [\"network.host\"]\n");
        (await new Buildctl(daemon.Address).BuildAsync(context, "--allow", "network.host")).Succeeded();
    }

    [EndToEndFact]
    public async Task A_step_runs_as_its_user_with_the_groups_of_the_image()
    {
        Assert.Equal(
            "uid=1000(app) gid=1001(staff) groups=1001(staff),1002(extra)\n/home/app\nuid=7 gid=8 groups=8\n",
            await OutputAsync("RUN touch /out && chmod 666 /out\nUSER app\nRUN id >> /out; echo $HOME >> /out\nUSER 7:8\nRUN id >> /out"));
    }

    [EndToEndFact]
    public async Task A_working_directory_is_made_and_used()
    {
        Assert.Equal("/srv/a/b\n755 0:0\n", await OutputAsync("WORKDIR /srv/a\nWORKDIR b\nRUN pwd > /out; stat -c '%a %u:%g' . >> /out"));
    }

    [EndToEndFact]
    public async Task Environment_and_arguments_reach_the_step()
    {
        Assert.Equal("one two three PATH=/bin\n", await OutputAsync("ENV A=one\nARG B=x\nARG C=three\nRUN echo $A $B $C PATH=$PATH > /out", ["--opt", "build-arg:B=two"]));
    }

    [EndToEndFact]
    public async Task Heredocs_are_scripts_and_files()
    {
        Assert.Equal("line 1\nfile\n", await OutputAsync("COPY <<EOF /file\nfile\nEOF\nRUN <<EOF\nfor i in 1; do echo line $i; done > /out\ncat /file >> /out\nEOF"));
    }

    [EndToEndFact]
    public async Task A_step_sees_no_more_than_a_container_may()
    {
        var output = await OutputAsync("RUN grep CapEff /proc/self/status > /out; grep Seccomp: /proc/self/status >> /out; hostname >> /out; cat /proc/1/comm >> /out; dd if=/proc/kcore of=/dev/null count=1 2>/dev/null | wc -c >> /out; mkdir /m; mount -t tmpfs t /m 2>/dev/null || echo no-mount >> /out");
        Assert.Contains("00000000a80425fb", output, StringComparison.Ordinal);
        Assert.Matches(@"Seccomp:\s+2\n", output);
        Assert.Contains("buildkitsandbox\n", output, StringComparison.Ordinal);
        Assert.EndsWith("no-mount\n", output, StringComparison.Ordinal);
    }

    [EndToEndFact("crun")]
    public async Task Crun_runs_the_same_steps()
    {
        await using var daemon = await DaemonProcess.StartAsync(configuration: "[worker.oci]\n  binary = \"crun\"\n");
        using var context = new ContextDirectory($"FROM {fixture.Base}\nUSER app\nRUN --mount=type=tmpfs,target=/t id && touch /tmp/x\nRUN exit 42\n");
        var failed = (await new Buildctl(daemon.Address).BuildPlainAsync(context)).Failed();
        Assert.Contains("uid=1000(app)", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("process \"/bin/sh -c exit 42\" did not complete successfully: exit code: 42", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Interrupting_the_client_ends_the_container()
    {
        var seconds = Random.Shared.Next(100_000, 999_999);
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo sta''rted; sleep {seconds}\n");
        await using var build = Client.Start(context);
        await build.WaitForAsync("started");
        Assert.NotEmpty(HostProcesses.With($"sleep\0{seconds}"));
        await build.InterruptAsync();
        Assert.Equal(1, await build.EndAsync());
        Assert.Contains("context canceled", build.Output, StringComparison.Ordinal);
        await HostProcesses.GoneAsync($"sleep\0{seconds}");
        using var next = new ContextDirectory($"FROM {fixture.Base}\nRUN echo {seconds}\n");
        (await Client.BuildAsync(next)).Succeeded();
    }
}
