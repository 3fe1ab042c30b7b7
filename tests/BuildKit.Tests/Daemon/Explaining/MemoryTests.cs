using System.Text;
using BuildKit.Cli.Text;
using BuildKit.Daemon.Explaining;
using BuildKit.Llb;
using BuildKit.Protocol.Explain;
using BuildKit.Solver;
using BuildKit.Storage.Checksums;
using static BuildKit.Tests.Daemon.Explaining.Recipe;

namespace BuildKit.Tests.Daemon.Explaining;

/// <summary>What is remembered to explain builds, for how long, and what it costs.</summary>
public sealed class MemoryTests
{
    private static readonly Recipe Base = new();

    [Fact]
    public async Task A_whole_build_reads_like_this()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync(Base.State);
        bench.Context["src/main.c"] = new("int main();");
        bench.Clock.Now = bench.Clock.Now.AddDays(1);
        var explanation = await bench.BuildAsync(Base.State, imports: [new CacheImport { Name = "registry.example/app", Problem = "denied", Error = "401 Unauthorized" }]);
        var numbers = explanation.Steps.Select((step, i) => (step.Vertex, Number: i + 4)).ToDictionary(pair => pair.Vertex, pair => (int?)pair.Number);
        Assert.Equal(
            """
            Why steps were executed:
            #5 [build 2/4] COPY src /src
               ran because its files changed since 24 Nov 18:02
                 modified src/main.c (content)
            #6 [build 3/4] RUN make
               ran because its input changed: COPY src /src has other files than on 24 Nov 18:02
                 modified src/main.c (content)
            #7 [build 4/4] RUN make test
               ran because its input changed: COPY src /src has other files than on 24 Nov 18:02
                 modified src/main.c (content)
            1 step read the client's files, which is done in every build; their content is what counts.
            The imported cache registry.example/app was not used: access is denied (401 Unauthorized)

            """,
            new ExplanationText(bench.Clock, vertex => numbers.GetValueOrDefault(vertex)).Of(explanation));
    }

    [Fact]
    public async Task A_build_from_the_cache_has_nothing_to_explain()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync(Base.State);
        var again = await bench.BuildAsync(Base.State);
        Assert.Equal(
            "Every step came from the cache.\n1 step read the client's files, which is done in every build; their content is what counts.\n",
            new ExplanationText(bench.Clock, static _ => null).Of(again));
    }

    [Fact]
    public async Task Json_holds_the_same_in_one_line_that_status_readers_skip()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync(Base.State, "before");
        bench.Context["src/main.c"] = new("int main;", 0x81ED);
        var line = Encoding.UTF8.GetString(ExplanationJson.Line(await bench.BuildAsync(Base.State, "after"), bench.Clock));
        Assert.EndsWith("}\n", line, StringComparison.Ordinal);
        using var json = System.Text.Json.JsonDocument.Parse(line);
        Assert.Equal("after", json.RootElement.GetProperty("ref").GetString());
        var copy = json.RootElement.GetProperty("explanations").EnumerateArray().Single(step => step.GetProperty("name").GetString() == CopyName);
        Assert.Equal("files", copy.GetProperty("cause").GetString());
        Assert.Equal("ran because its files changed since 24 Nov 18:02", copy.GetProperty("text").GetString());
        Assert.Equal("before", copy.GetProperty("earlier").GetProperty("ref").GetString());
        var change = copy.GetProperty("files").GetProperty("changes")[0];
        Assert.Equal("src/main.c", change.GetProperty("path").GetString());
        Assert.Equal("0755", change.GetProperty("what")[0].GetProperty("after").GetString());
        Assert.False(json.RootElement.TryGetProperty("vertexes", out _));
    }

    [Fact]
    public async Task The_nearest_of_several_earlier_runs_is_the_one_with_most_in_common()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync((Base with { Command = "make -j4" }).State);
        bench.At(19);
        await bench.BuildAsync((Base with { Command = "make -j4", Image = "docker.io/library/debian:12" }).State);
        bench.At(20);
        Assert.Equal(
            "ran because its command changed since 24 Nov 18:02: make -j4 -> make -j8",
            bench.Text(await bench.BuildAsync((Base with { Command = "make -j8" }).State), MakeName));
    }

    [Fact]
    public async Task A_build_of_the_same_directory_is_nearer_than_a_more_similar_one_of_another()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync((Base with { Command = "make -j4" }).State, scope: "here");
        bench.At(19);
        bench.Context["src/main.c"] = new("other project");
        await bench.BuildAsync((Base with { Command = "make -j8" }).State, scope: "there");
        bench.At(20);
        bench.Context["src/main.c"] = new("int main;");
        Assert.Equal(
            "ran because its command changed since 24 Nov 18:02: make -j4 -> make -j8",
            bench.Text(await bench.BuildAsync((Base with { Command = "make -j8" }).State, scope: "here"), MakeName));
        bench.Context["src/main.c"] = new("third project");
        Assert.Equal(
            "ran because its files changed since 24 Nov 19:00 (in a build of another directory)\n  modified src/main.c (content)",
            bench.Text(await bench.BuildAsync(Base.State, scope: "elsewhere"), CopyName));
    }

    [Fact]
    public async Task A_step_of_another_kind_of_build_is_not_taken_for_an_earlier_run()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync(State.Image("docker.io/library/debian:12").Run("echo other").Root);
        Assert.Equal("ran because it was never built here", bench.Text(await bench.BuildAsync(Base.State), MakeName));
    }

    [Fact]
    public async Task Steps_of_the_same_build_do_not_explain_each_other()
    {
        await using var bench = new ExplainBench();
        var image = State.Image("docker.io/library/alpine:3.19");
        var both = State.Merge([Run("one"), Run("two")]);
        var explanation = await bench.BuildAsync(both);
        Assert.All(explanation.Steps, step => Assert.Equal("never", step.Cause));

        State Run(string argument) => image.Run(new RunOptions { Args = ["/bin/sh", "-c", "echo " + argument], Constraints = OpConstraints.None.WithCustomName("echo") });
    }

    [Fact]
    public async Task An_imported_result_is_an_earlier_result()
    {
        await using var far = new ExplainBench();
        await far.BuildAsync(Base.State);
        await using var bench = new ExplainBench();
        foreach (var (id, tree) in far.Trees)
            bench.Trees[id] = tree;
        var import = new LocalCacheManager("registry.example/app#0", far.Keys, far);
        bench.Clock.Now = bench.Clock.Now.AddHours(1);
        var first = await bench.BuildAsync(Base.State, sources: [import]);
        Assert.DoesNotContain(first.Steps, step => step.Name == TestName);
        bench.Clock.Now = bench.Clock.Now.AddHours(1);
        var second = await bench.BuildAsync((Base with { Test = "make check" }).State, sources: [import]);
        Assert.Equal(
            "ran because its command changed since 24 Nov 19:02 (imported from registry.example/app): make test -> make check\n  the imported cache registry.example/app has nothing for it",
            bench.Text(second, TestName));
    }

    [Fact]
    public async Task A_step_shared_by_two_builds_at_once_is_explained_to_both()
    {
        await using var bench = new ExplainBench();
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        bench.WhenRun["slow"] = async () =>
        {
            started.TrySetResult();
            await go.Task;
        };
        var state = State.Image("docker.io/library/alpine:3.19").Run(new RunOptions { Args = ["slow"], Constraints = OpConstraints.None.WithCustomName("slow") }).Root;
        var one = bench.BuildAsync(state, "one");
        await started.Task;
        var two = bench.BuildAsync(state, "two");
        while (bench.Solver.Scheduler.IndexedKeyCount == 0 || bench.Store.GetBuild("two") is null)
            await Task.Delay(5);
        go.SetResult();
        Assert.Contains((await one).Steps, step => step.Name == "slow");
        Assert.Contains((await two).Steps, step => step.Name == "slow");
        Assert.Single(bench.Executed, name => name == "slow");
    }

    [Fact]
    public async Task Remembering_hashes_nothing_and_a_build_from_the_cache_writes_nothing()
    {
        await using var bench = new ExplainBench();
        await using var unobserved = new ExplainBench(observes: false);
        await bench.BuildAsync(Base.State);
        await unobserved.BuildAsync(Base.State);
        // Trees of the bench cannot be read: a list that needed a file would have failed the comparison below.
        Assert.Equal(unobserved.Hashed, bench.Hashed);
        Assert.Equal(1, bench.Listed);
        var before = bench.Store.Size();
        await bench.BuildAsync(Base.State);
        await unobserved.BuildAsync(Base.State);
        Assert.Equal(unobserved.Hashed, bench.Hashed);
        Assert.Equal(1, bench.Listed);
        // The client's directory is transferred in every build.
        Assert.Equal(before.Steps + 1, bench.Store.Size().Steps);
        Assert.Equal(before.ListBytes, bench.Store.Size().ListBytes);
    }

    [Fact]
    public async Task What_is_remembered_survives_a_restart()
    {
        await using var bench = new ExplainBench();
        await bench.BuildAsync(Base.State, "old");
        await bench.RestartAsync();
        bench.Context["src/main.c"] = new("int main();");
        bench.Clock.Now = bench.Clock.Now.AddDays(1);
        await bench.BuildAsync(Base.State, "new");
        await bench.RestartAsync();
        var later = (await new Explainer(bench.Store, bench).ExplainAsync("new", isLive: false, default))!;
        Assert.Equal("ran because its files changed since 24 Nov 18:02\n  modified src/main.c (content)", bench.Text(later, CopyName));
        Assert.Equal("new", (await new Explainer(bench.Store, bench).ExplainAsync("", isLive: false, default))!.Ref);
        Assert.Equal("ran because it was never built here", bench.Text((await new Explainer(bench.Store, bench).ExplainAsync("old", isLive: false, default))!, CopyName));
        Assert.Null(await new Explainer(bench.Store, bench).ExplainAsync("none", isLive: false, default));
    }

    [Fact]
    public async Task The_store_stays_within_its_limits_and_says_how_far_back_it_goes()
    {
        var limits = new StepStoreLimits { Steps = 40, ListBytes = 1_000, Builds = 5, TrimEvery = 1 };
        await using var bench = new ExplainBench(limits);
        for (var i = 0; i < 40; i++)
        {
            bench.Clock.Now = bench.Clock.Now.AddMinutes(1);
            bench.Context["src/main.c"] = new("version " + i);
            await bench.BuildAsync(Base.State, "b" + i);
        }
        var (steps, _, lists, builds) = bench.Store.Size();
        Assert.InRange(steps, 1, limits.Steps);
        Assert.InRange(lists, 1, limits.ListBytes);
        Assert.Equal(limits.Builds, builds);
        Assert.Null(bench.Store.GetBuild("b1"));
        var first = await bench.BuildAsync((Base with { Image = "docker.io/library/debian:12", Command = "x" }).State);
        Assert.StartsWith("ran because it was never fetched here, as far back as is remembered (24 Nov 18:", bench.Text(first, FromName), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bytes_of_steps_are_limited_too()
    {
        await using var bench = new ExplainBench(new StepStoreLimits { StepBytes = 20_000, TrimEvery = 1 });
        for (var i = 0; i < 30; i++)
        {
            bench.Context["src/main.c"] = new("version " + i);
            await bench.BuildAsync((Base with { Command = new string('x', 2_000) + i }).State);
        }
        Assert.InRange(bench.Store.Size().StepBytes, 1, 20_000);
    }

    [Fact]
    public void A_list_of_files_is_read_as_it_was_saved()
    {
        var list = new ContentListing();
        list.Add(new ContentEntry("", ContentKind.Directory, 1, new ContentStat(0x41ED, 0, 0, 0), false));
        list.Add(new ContentEntry("/a/bc", ContentKind.File, 2, new ContentStat(0x81A4, 5, 6, 70_000), false));
        list.Add(new ContentEntry("/a/bd", ContentKind.File, ulong.MaxValue, new ContentStat(0x81A4, 5, 6, 8), false));
        list.Add(new ContentEntry("/a/é", ContentKind.Symlink, 4, null, false));
        list.Add(new ContentEntry("/z", ContentKind.Directory, 5, new ContentStat(0x41ED, uint.MaxValue, 1, 0), true));
        var saved = list.Save();
        Assert.Equal(list.Entries, ContentListing.Load(saved).Entries);
        for (var length = 0; length < saved.Length; length++)
            Assert.Throws<InvalidDataException>(() => ContentListing.Load(saved.AsMemory(0, length)));
    }

    [Fact]
    public void A_tree_saved_before_modes_were_kept_can_be_read()
    {
        var tree = ContentTree.ForTransfer();
        tree.Put("a", new ContentHeader { Mode = 0x81A4, Size = 1 }, BuildKit.Oci.Digest.Sha256("a"));
        var saved = tree.Save();
        Assert.Equal(2, saved[0]);
        // Version, root: flags, name, header digest, count; then the file: flags, name, digest; what follows is new.
        byte[] old = [1, .. saved.AsSpan(1, 35), (byte)(saved[36] & ~8), .. saved.AsSpan(37, 34)];
        Assert.Equal(8, saved[36] & 8);
        var loaded = ContentTree.Load(old);
        Assert.Equal(BuildKit.Oci.Digest.Sha256("a"), loaded.Root.Children!["a"].Digest);
        Assert.Null(loaded.Root.Children["a"].Stat);
        Assert.Equal(new ContentStat(0x81A4, 0, 0, 1), ContentTree.Load(saved).Root.Children!["a"].Stat);
    }
}
