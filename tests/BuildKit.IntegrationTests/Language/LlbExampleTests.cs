using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>The programs of <c>examples/llb</c>, piped into <c>buildctl build</c> and <c>buildctl debug dump-llb</c>.</summary>
public sealed class LlbExampleTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    [EndToEndFact]
    public async Task Multistage_keeps_only_what_the_last_stage_takes()
    {
        using var source = new ContextDirectory().Write("a.txt", "from a file\n").Write("other.md", "not sent\n");
        using var output = await BuildAsync("multistage", "--local", "src=" + source.Path);
        Assert.Equal("hello\nfrom a file\n", await File.ReadAllTextAsync(output.Path + "/o/app/result"));
        Assert.Equal("result", new FileInfo(output.Path + "/o/app/latest").LinkTarget);
        Assert.Equal(["app"], Directory.GetFileSystemEntries(output.Path + "/o").Select(e => Path.GetFileName(e)!));
    }

    [EndToEndFact]
    public async Task Merge_lays_independent_changes_over_each_other()
    {
        using var output = await BuildAsync("merge");
        foreach (var name in new[] { "one", "two", "three" })
            Assert.Equal(name + "\n", await File.ReadAllTextAsync($"{output.Path}/o/opt/{name}/installed"));
        Assert.True(File.Exists(output.Path + "/o/bin/busybox"));
        Assert.False(Directory.Exists(output.Path + "/o/tmp"));
    }

    [EndToEndFact]
    public async Task Mounts_give_a_result_of_their_own()
    {
        using var secret = new ContextDirectory().Write("token", "12345");
        using var output = await BuildAsync("mounts", "--secret", "id=token,src=" + secret["token"]);
        Assert.Equal("5 characters\n", await File.ReadAllTextAsync(output.Path + "/o/token"));
        Assert.Equal("built\n", await File.ReadAllTextAsync(output.Path + "/o/log"));
        Assert.Equal("512\n", await File.ReadAllTextAsync(output.Path + "/o/limit"));
        Assert.Equal("1\n", await File.ReadAllTextAsync(output.Path + "/o/hosts"));
    }

    [EndToEndTheory]
    [InlineData("multistage")]
    [InlineData("merge")]
    [InlineData("mounts")]
    [InlineData("git")]
    public async Task A_definition_is_shown_as_json_and_as_a_graph(string name)
    {
        var definition = await DefinitionAsync(name);
        var lines = (await Programs.RunAsync(Programs.Buildctl, ["debug", "dump-llb"], input: definition)).Succeeded().Text.TrimEnd('\n').Split('\n');
        Assert.All(lines, line => Assert.StartsWith("{\"Op\":{", line, StringComparison.Ordinal));
        var graph = (await Programs.RunAsync(Programs.Buildctl, ["debug", "dump-llb", "--dot"], input: definition)).Succeeded().Text;
        Assert.StartsWith("digraph {\n", graph, StringComparison.Ordinal);
        Assert.Equal(lines.Length, graph.Split('\n').Count(line => line.Contains(" shape=", StringComparison.Ordinal)));
    }

    [EndToEndFact]
    public async Task The_metadata_of_a_daemon_is_dumped_while_it_runs_and_after()
    {
        using var root = new TempDirectory();
        await using var daemon = await DaemonProcess.StartAsync(root.Sub("root"));
        using var context = new ContextDirectory("FROM scratch\nCOPY Dockerfile /\n");
        (await new Buildctl(daemon.Address).BuildAsync(context)).Succeeded();
        var running = await DumpAsync(daemon.Root);
        Assert.Contains("===== " + daemon.Root, running, StringComparison.Ordinal);
        Assert.Contains("bucket \"records\":\n    \"", running, StringComparison.Ordinal);
        Assert.Contains("bucket \"cache_key\":\n", running, StringComparison.Ordinal);
        Assert.Contains("description='[1/1] COPY Dockerfile /'", running, StringComparison.Ordinal);
        await daemon.StopAsync();
        Assert.Contains("description='[1/1] COPY Dockerfile /'", await DumpAsync(daemon.Root), StringComparison.Ordinal);
        Assert.Equal("", await DumpAsync(root.Sub("nothing")));
    }

    private static async Task<string> DumpAsync(string root) =>
        (await Programs.RunAsync(Programs.Buildctl, ["debug", "dump-metadata", "--root", root])).Succeeded().Text;

    private async Task<TempDirectory> BuildAsync(string name, params string[] arguments)
    {
        var output = new TempDirectory();
        (await fixture.Client.RunAsync(["build", "--progress=plain", .. arguments, "--output", $"type=local,dest={output.Path}/o"], await DefinitionAsync(name))).Succeeded();
        return output;
    }

    private async Task<byte[]> DefinitionAsync(string name) =>
        (await Programs.RunAsync("dotnet", [Path.Combine(AppContext.BaseDirectory, "llb-examples.dll"), name, fixture.Base])).Succeeded().Output;
}
