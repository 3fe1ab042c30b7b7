using System.Text.RegularExpressions;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>What is executed, and what is not.</summary>
public sealed partial class CachingTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private Buildctl Client => fixture.Client;

    private string Dockerfile => $"""
        FROM {fixture.Base} AS left
        COPY left.txt /left.txt
        RUN cat /left.txt > /left.out && echo made-left
        FROM {fixture.Base} AS right
        COPY right.txt /right.txt
        RUN cat /right.txt > /right.out && echo made-right
        FROM scratch
        COPY --from=left /left.out /
        COPY --from=right /right.out /

        """;

    [EndToEndFact]
    public async Task A_second_build_executes_nothing()
    {
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", Unique()).Write("right.txt", Unique());
        var first = (await Client.BuildAsync(context)).Succeeded();
        Assert.Equal(6, first.Trace.Executed.Count);
        var second = (await Client.BuildAsync(context)).Succeeded();
        Assert.Empty(second.Trace.Executed);
        Assert.NotEmpty(second.Trace.Cached);
    }

    [EndToEndFact]
    public async Task A_changed_file_executes_the_steps_that_see_it_and_no_others()
    {
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", Unique()).Write("right.txt", Unique()).Write("unused.txt", "1");
        (await Client.BuildAsync(context)).Succeeded();
        context.Write("right.txt", Unique());
        var build = (await Client.BuildAsync(context)).Succeeded();
        Assert.Equal(
            ["[right 2/3] COPY right.txt /right.txt", "[right 3/3] RUN cat /right.txt > /right.out && echo made-right", "[stage-2 2/2] COPY --from=right /right.out /"],
            build.Trace.Executed.Order(StringComparer.Ordinal));
        context.Write("unused.txt", "2");
        Assert.Empty((await Client.BuildAsync(context)).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task A_new_time_of_a_file_with_the_same_content_executes_nothing()
    {
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", Unique()).Write("right.txt", "r");
        (await Client.BuildAsync(context)).Succeeded();
        File.SetLastWriteTimeUtc(context["left.txt"], DateTime.UnixEpoch.AddYears(40));
        Assert.Empty((await Client.BuildAsync(context)).Succeeded().Trace.Executed);
    }

    [EndToEndFact]
    public async Task A_changed_build_argument_executes_the_steps_after_it()
    {
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo {Unique()} > /a\nARG WHO=one\nRUN echo $WHO > /b\nRUN echo last > /c\n");
        (await Client.BuildAsync(context, "--opt", "build-arg:WHO=one")).Succeeded();
        Assert.Empty((await Client.BuildAsync(context)).Succeeded().Trace.Executed);
        var other = (await Client.BuildAsync(context, "--opt", "build-arg:WHO=two")).Succeeded();
        Assert.Equal(["[3/4] RUN echo $WHO > /b", "[4/4] RUN echo last > /c"], other.Trace.Executed);
    }

    [EndToEndFact]
    public async Task No_cache_executes_every_step_again()
    {
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", Unique()).Write("right.txt", "r");
        (await Client.BuildAsync(context)).Succeeded();
        Assert.Equal(6, (await Client.BuildAsync(context, "--no-cache")).Succeeded().Trace.Executed.Count);
    }

    [EndToEndFact]
    public async Task A_stage_nothing_needs_is_not_built()
    {
        using var context = new ContextDirectory(Dockerfile + $"FROM {fixture.Base} AS unneeded\nRUN exit 1\n").Write("left.txt", Unique()).Write("right.txt", "r");
        var build = (await Client.BuildAsync(context, "--opt", "target=left")).Succeeded();
        Assert.All(build.Trace.Executed, name => Assert.Contains("left", name, StringComparison.Ordinal));
        Assert.Equal(2, build.Trace.Executed.Count);
    }

    [EndToEndFact]
    public async Task Identical_builds_at_once_execute_each_step_once()
    {
        var id = Unique();
        using var context = new ContextDirectory($"""
            FROM {fixture.Base}
            RUN --mount=type=cache,id={id},target=/count echo x >> /count/runs; sleep 2; od -An -N16 -tx1 /dev/urandom > /random
            FROM scratch
            COPY --from=0 /random /random
            """);
        using var output = new TempDirectory();
        var builds = await Task.WhenAll(Enumerable.Range(0, 3).Select(i => Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/{i}")));
        Assert.All(builds, build => build.Succeeded());
        var numbers = Enumerable.Range(0, 3).Select(i => File.ReadAllText($"{output.Path}/{i}/random")).ToList();
        Assert.Single(numbers.Distinct(StringComparer.Ordinal));
        using var counting = new ContextDirectory($"FROM {fixture.Base} AS count\nRUN --mount=type=cache,id={id},target=/count cp /count/runs /runs\nFROM scratch\nCOPY --from=count /runs /\n");
        (await Client.BuildAsync(counting, "--output", $"type=local,dest={output.Path}/count")).Succeeded();
        Assert.Equal("x\n", await File.ReadAllTextAsync($"{output.Path}/count/runs"));
    }

    [EndToEndFact]
    public async Task Independent_stages_run_side_by_side()
    {
        var id = Unique();
        // Each stage waits for the other's mark: one after the other, this would never end.
        string Stage(string mine, string other) =>
            $"RUN --mount=type=cache,id={id},target=/m touch /m/{mine}; for i in $(seq 300); do test -e /m/{other} && echo met > /{mine} && exit 0; sleep 0.1; done; exit 1";
        using var context = new ContextDirectory($"FROM {fixture.Base} AS a\n{Stage("a", "b")}\nFROM {fixture.Base} AS b\n{Stage("b", "a")}\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n");
        (await Client.BuildAsync(context)).Succeeded();
    }

    [EndToEndFact]
    public async Task A_file_of_dockerignore_never_reaches_the_daemon()
    {
        var secret = "never-sent-" + Unique();
        using var context = new ContextDirectory("FROM scratch\nCOPY . /all/\n")
            .Write(".dockerignore", "secret.txt\nlogs\n!logs/keep.txt\n**/*.tmp\n")
            .Write("secret.txt", secret).Write("logs/drop.txt", secret).Write("logs/keep.txt", "keep").Write("sub/x.tmp", secret).Write("sub/y.txt", "y");
        using var output = new TempDirectory();
        (await Client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/out")).Succeeded();
        var files = Directory.GetFiles($"{output.Path}/out", "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath($"{output.Path}/out", f)).Order(StringComparer.Ordinal);
        Assert.Equal(["all/.dockerignore", "all/Dockerfile", "all/logs/keep.txt", "all/sub/y.txt"], files);
        var search = await Programs.RunAsync("grep", ["-rl", "--devices=skip", secret, fixture.Daemon.Root]);
        Assert.True(search.ExitCode == 1, $"the daemon has it: {search.Text}{search.Errors}");
    }

    [EndToEndFact]
    public async Task An_unchanged_context_is_not_sent_again()
    {
        using var context = new ContextDirectory("FROM scratch\nCOPY big.bin /\n").Write("big.bin", System.Security.Cryptography.RandomNumberGenerator.GetBytes(3_000_000));
        Assert.Contains("transferring context: 3.00MB", (await Client.BuildPlainAsync(context)).Succeeded().Errors, StringComparison.Ordinal);
        var again = (await Client.BuildPlainAsync(context)).Succeeded().Errors;
        Assert.Matches(SmallTransfer(), again);
        Assert.DoesNotContain("MB", again, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task All_is_still_cached_after_a_restart()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", Unique()).Write("right.txt", "r");
        (await client.BuildAsync(context)).Succeeded();
        await daemon.StopAsync();
        Assert.Empty(daemon.MountsBelowRoot());
        await daemon.StartAgainAsync();
        using var output = new TempDirectory();
        Assert.Empty((await client.BuildAsync(context, "--output", $"type=local,dest={output.Path}/out")).Succeeded().Trace.Executed);
        Assert.Equal(await File.ReadAllTextAsync(context["left.txt"]), await File.ReadAllTextAsync($"{output.Path}/out/left.out"));
    }

    [EndToEndFact]
    public async Task Pruning_everything_leaves_nothing_and_the_next_build_executes_all()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory(Dockerfile).Write("left.txt", "l").Write("right.txt", "r");
        (await client.BuildAsync(context)).Succeeded();
        Assert.Contains("Total:", (await client.RunAsync(["du"])).Succeeded().Text, StringComparison.Ordinal);
        await client.PruneAllAsync();
        Assert.Matches(Nothing(), (await client.RunAsync(["du"])).Succeeded().Text);
        Assert.Equal(6, (await client.BuildAsync(context)).Succeeded().Trace.Executed.Count);
    }

    private static string Unique() => Guid.NewGuid().ToString("N");

    [GeneratedRegex(@"transferring context: \d+B")]
    private static partial Regex SmallTransfer();

    [GeneratedRegex(@"Total:\s+0B?\s")]
    private static partial Regex Nothing();
}
