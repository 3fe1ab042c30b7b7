using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Transport;

/// <summary>Connections through another program: it is found in PATH and runs <c>buildctl dial-stdio</c> where the daemon is.</summary>
public sealed class HelperTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    [EndToEndTheory]
    [InlineData("docker-container://box", "docker", "exec -i box buildctl dial-stdio")]
    [InlineData("docker-container://box?context=far", "docker", "--context=far exec -i box buildctl dial-stdio")]
    [InlineData("podman-container://box", "podman", "exec -i box buildctl dial-stdio")]
    [InlineData("nerdctl-container://box?namespace=ns", "nerdctl", "exec --namespace ns -i box buildctl dial-stdio")]
    [InlineData("kube-pod://pod?namespace=ns&container=c", "kubectl", "--context= --namespace=ns exec --container=c -i pod -- buildctl dial-stdio")]
    [InlineData("ssh://me@box:2222", "ssh", "-l me -p 2222 -- box buildctl dial-stdio")]
    [InlineData("ssh://box/run/b.sock", "ssh", "-- box buildctl --addr unix:///run/b.sock dial-stdio")]
    public async Task A_build_runs_through_the_program_of_the_address(string address, string program, string arguments)
    {
        using var directory = new TempDirectory();
        var client = Client(directory, address, program, $"exec '{Programs.Buildctl}' --addr {fixture.Daemon.Address} dial-stdio");
        using var context = new ContextDirectory("FROM scratch\nCOPY a /b\n").Write("a", address);
        (await client.BuildAsync(context, "--output", "type=local,dest=" + directory.Sub("out"))).Succeeded();
        Assert.Equal(address, await File.ReadAllTextAsync(directory.Path + "/out/b"));
        Assert.Equal(arguments, (await File.ReadAllLinesAsync(directory.Path + "/arguments"))[0]);
    }

    [EndToEndFact]
    public async Task A_program_that_fails_is_quoted()
    {
        using var directory = new TempDirectory();
        var result = await Client(directory, "docker-container://box", "docker", "echo 'No such container: box' >&2; exit 1").RunAsync(["debug", "workers"]);
        Assert.Contains("No such container: box", result.Failed().Errors, StringComparison.Ordinal);
        Assert.Contains("docker exec -i box buildctl dial-stdio", result.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_program_that_is_not_installed_is_named()
    {
        using var directory = new TempDirectory();
        var client = new Buildctl("podman-container://box", new Dictionary<string, string?>(StringComparer.Ordinal) { ["PATH"] = directory.Path });
        Assert.Contains("podman", (await client.RunAsync(["debug", "workers"])).Failed().Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Dial_stdio_says_when_nobody_listens()
    {
        using var directory = new TempDirectory();
        var result = await new Buildctl($"unix://{directory.Path}/none.sock").RunAsync(["dial-stdio"]);
        Assert.Empty(result.Failed().Text);
        Assert.Contains($"dial unix {directory.Path}/none.sock", result.Errors, StringComparison.Ordinal);
    }

    /// <summary>A client that finds <paramref name="program"/> in PATH as a script that notes its arguments.</summary>
    private static Buildctl Client(TempDirectory directory, string address, string program, string script)
    {
        var bin = directory.Sub("bin");
        File.WriteAllText($"{bin}/{program}", $"#!/bin/sh\necho \"$*\" >>'{directory.Path}/arguments'\n{script}\n");
        File.SetUnixFileMode($"{bin}/{program}", (UnixFileMode)0x1ED);
        return new Buildctl(address, new Dictionary<string, string?>(StringComparer.Ordinal) { ["PATH"] = bin + ":" + Environment.GetEnvironmentVariable("PATH") });
    }
}
