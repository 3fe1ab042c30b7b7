using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Transport;

/// <summary>What happens where no daemon listens, and what the messages say to do.</summary>
public sealed class PrivateDaemonTests
{
    /// <summary>In a mount namespace with nothing below the places daemons use; two builds, and who is left after each.</summary>
    private const string Script = """
        set -e
        mount -t tmpfs tmpfs /run
        mount -t tmpfs tmpfs /var/lib
        here=$(readlink /proc/self/ns/mnt)
        for n in 1 2; do
            "$BUILDCTL" build --progress=plain --frontend dockerfile.v0 --local context="$1" --local dockerfile="$1" --output type=local,dest="$2/out$n" 2>&1 | sed "s/^/$n: /"
            for p in /proc/[0-9]*; do
                if [ "$(readlink "$p/ns/mnt" 2>/dev/null)" = "$here" ] && [ "$(cat "$p/comm")" = buildkitd ]; then echo "$n: left: $p"; fi
            done
        done
        """;

    [EndToEndFact("unshare", "setsid")]
    public async Task A_build_without_a_daemon_starts_its_own_which_ends_and_keeps_its_cache()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY a /b\n").Write("a", "hello");
        using var output = new TempDirectory();
        var environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["BUILDCTL"] = Programs.Buildctl, ["BUILDKIT_HOST"] = null, ["DOCKER_CONFIG"] = "/nonexistent", ["PATH"] = Programs.BinDirectory + ":" + Environment.GetEnvironmentVariable("PATH") };
        var result = (await Programs.RunAsync("unshare", ["--mount", "sh", "-c", Script, "sh", context.Path, output.Path], environment)).Succeeded();
        Assert.Contains("1: No daemon at unix:///run/buildkit/buildkitd.sock: started a private one, state in /var/lib/buildkit-private", result.Text, StringComparison.Ordinal);
        Assert.Contains("2: No daemon at unix:///run/buildkit/buildkitd.sock: started a private one, state in /var/lib/buildkit-private", result.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("1: #5 CACHED", result.Text, StringComparison.Ordinal);
        Assert.Matches("(?m)^2: #[0-9]+ CACHED$", result.Text);
        Assert.DoesNotContain("left:", result.Text, StringComparison.Ordinal);
        Assert.Equal("hello", await File.ReadAllTextAsync(output.Path + "/out1/b"));
        Assert.Equal("hello", await File.ReadAllTextAsync(output.Path + "/out2/b"));
    }

    [EndToEndFact]
    public async Task A_named_daemon_that_is_not_there_is_not_replaced()
    {
        using var directory = new TempDirectory();
        using var context = new ContextDirectory("FROM scratch\n");
        var result = (await new Buildctl($"unix://{directory.Path}/none.sock").BuildPlainAsync(context)).Failed();
        Assert.Contains($"dial unix {directory.Path}/none.sock: connect: no such file or directory", result.Errors, StringComparison.Ordinal);
        Assert.Contains("hint: ", result.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("private", result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_socket_nobody_listens_on_says_how_to_start_a_daemon()
    {
        using var directory = new TempDirectory();
        var path = directory.Path + "/dead.sock";
        using (var socket = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified))
            socket.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
        if (!File.Exists(path))
            (await Programs.RunAsync("python3", ["-c", "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", path])).Succeeded();
        var result = (await new Buildctl("unix://" + path).RunAsync(["du"])).Failed();
        Assert.Contains($"dial unix {path}: connect: connection refused", result.Errors, StringComparison.Ordinal);
        Assert.Contains("hint: ", result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact("setpriv")]
    public async Task A_socket_of_others_says_who_may_use_it()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        File.SetUnixFileMode(daemon.Scratch, (UnixFileMode)0x1ED);
        var path = daemon.Address["unix://".Length..];
        var result = (await Programs.RunAsync("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", Programs.Buildctl, "--addr", daemon.Address, "du"])).Failed();
        Assert.Contains($"dial unix {path}: connect: permission denied", result.Errors, StringComparison.Ordinal);
        Assert.Contains("hint: ", result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_daemon_without_a_runtime_says_which_to_install()
    {
        using var directory = new TempDirectory();
        var bin = directory.Sub("bin");
        foreach (var program in new[] { "setpriv", "mount", "umount" })
            File.CreateSymbolicLink($"{bin}/{program}", Requirement.Locate(program)!);
        var result = await Programs.RunAsync(
            Programs.Buildkitd, ["--config", "/dev/null", "--root", directory.Path + "/root", "--addr", $"unix://{directory.Path}/b.sock"],
            new Dictionary<string, string?>(StringComparer.Ordinal) { ["PATH"] = bin });
        result.Failed();
        Assert.Contains("install an OCI runtime", result.Errors + result.Text, StringComparison.Ordinal);
    }
}
