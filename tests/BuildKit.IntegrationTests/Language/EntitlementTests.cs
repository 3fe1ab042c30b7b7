using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.Language;

/// <summary>What a step may do only with leave of the daemon's configuration and of the caller, and the syntax that is still an experiment.</summary>
public sealed class EntitlementTests(EntitlementFixture fixture) : IClassFixture<EntitlementFixture>
{
    private const string Labs = "# syntax=docker/dockerfile:1-labs\n";

    [EndToEndFact]
    public async Task An_insecure_step_has_the_hosts_capabilities_when_both_allow_it()
    {
        using var context = new ContextDirectory($"{Labs}FROM {fixture.Base}\nRUN --security=insecure grep CapEff /proc/self/status > /insecure; mount -t tmpfs t /tmp && echo mounted >> /insecure\nRUN grep CapEff /proc/self/status > /secure\n");
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--allow", "security.insecure", "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        var secure = await File.ReadAllTextAsync(output.Path + "/o/secure");
        var insecure = (await File.ReadAllTextAsync(output.Path + "/o/insecure")).Split('\n');
        Assert.Equal("CapEff:\t00000000a80425fb\n", secure);
        Assert.NotEqual(secure.TrimEnd('\n'), insecure[0]);
        Assert.Equal("mounted", insecure[1]);
    }

    [EndToEndTheory]
    [InlineData("RUN --security=insecure true", "security.insecure is not allowed")]
    [InlineData("RUN --network=host true", "network.host is not allowed")]
    [InlineData("RUN --device=vendor.com/gpu=0,required true", "device vendor.com/gpu=0 is requested by the build but not allowed")]
    public async Task Without_the_callers_leave_the_step_is_refused(string instruction, string error)
    {
        using var context = new ContextDirectory($"{Labs}FROM {fixture.Base}\n{instruction}\n");
        var failed = (await fixture.Client.BuildPlainAsync(context)).Failed();
        Assert.Contains($"failed to load LLB: {error}\n", failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task An_optional_device_that_is_not_there_is_left_out()
    {
        using var context = new ContextDirectory($"{Labs}FROM {fixture.Base}\nRUN --device=vendor.com/gpu=0,required=false true\n");
        (await fixture.Client.BuildAsync(context)).Succeeded();
    }

    [EndToEndTheory]
    [InlineData("RUN --security=insecure true", "unknown flag: --security")]
    [InlineData("COPY --exclude=*.md . /", "unknown flag: --exclude")]
    [InlineData("COPY --parents a /", "unknown flag: --parents")]
    [InlineData("RUN --device=x true", "device feature is only supported in Dockerfile frontend 1.14.0-labs or later")]
    public async Task The_stable_syntax_does_not_know_the_experiments(string instruction, string error)
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\n{instruction}\n");
        var failed = (await fixture.Client.BuildPlainAsync(context)).Failed();
        Assert.Contains(error, failed.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Parents_keep_the_folders_above_a_source()
    {
        using var context = new ContextDirectory($"{Labs}FROM scratch\nCOPY --parents a/b/c.txt x/./y/z.txt d/*/e.txt /all/\nCOPY --parents a /tree/\n");
        context.Write("a/b/c.txt", "c").Write("a/not.txt", "n").Write("x/y/z.txt", "z").Write("d/1/e.txt", "1").Write("d/2/e.txt", "2").Write("d/2/f.txt", "f");
        Assert.Equal(
            ["all/a/b/c.txt", "all/d/1/e.txt", "all/d/2/e.txt", "all/y/z.txt", "tree/a/b/c.txt", "tree/a/not.txt"],
            await FilesAsync(context));
    }

    [EndToEndFact]
    public async Task Exclude_leaves_out_what_matches()
    {
        using var context = new ContextDirectory($"{Labs}FROM scratch\nCOPY --exclude=*.md --exclude=sub/skip* src /copied/\nADD --exclude=**/keep.txt src /added/\n");
        context.Write("src/a.txt", "a").Write("src/b.md", "b").Write("src/sub/skip1", "1").Write("src/sub/keep.txt", "k").Write("src/sub/c.md", "c");
        Assert.Equal(
            ["added/a.txt", "added/b.md", "added/sub/c.md", "added/sub/skip1", "copied/a.txt", "copied/sub/c.md", "copied/sub/keep.txt"],
            await FilesAsync(context));
    }

    private async Task<IEnumerable<string>> FilesAsync(ContextDirectory context)
    {
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/o")).Succeeded();
        return [.. Directory.GetFiles(output.Path + "/o", "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(output.Path + "/o", f)).Order(StringComparer.Ordinal)];
    }
}

/// <summary>A daemon that grants everything to callers who ask for it.</summary>
public sealed class EntitlementFixture : IAsyncLifetime
{
    private DockerRegistry? _registry;
    private DaemonProcess? _daemon;

    public Buildctl Client { get; private set; } = null!;

    public string Base => $"{_registry!.Host}/base:latest";

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        _registry = await DockerRegistry.StartAsync();
        await BaseImage.PushAsync(_registry);
        _daemon = await DaemonProcess.StartAsync(configuration: "insecure-entitlements = [\"network.host\", \"security.insecure\"]\n");
        Client = new Buildctl(_daemon.Address);
    }

    public async Task DisposeAsync()
    {
        if (_daemon is not null)
            await _daemon.DisposeAsync();
        if (_registry is not null)
            await _registry.DisposeAsync();
    }
}
