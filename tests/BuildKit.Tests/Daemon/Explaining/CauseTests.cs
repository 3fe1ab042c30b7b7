using BuildKit.Llb;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using static BuildKit.Tests.Daemon.Explaining.Recipe;

namespace BuildKit.Tests.Daemon.Explaining;

/// <summary>Each cause of an execution, and the words it is told with.</summary>
public sealed class CauseTests
{
    private static readonly Recipe Base = new();

    private static readonly Dictionary<string, Cause> Causes = new(StringComparer.Ordinal)
    {
        ["first build"] = new(MakeName, "ran because it was never built here") { Before = null },
        ["first image"] = new(FromName, "ran because it was never fetched here") { Before = null },
        ["changed file"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (content)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int main();"),
        },
        ["changed file of the same size"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (content)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int MAIN;"),
        },
        ["added, removed and modified files"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  added src/lib/, modified src/main.c (content), added src/new.h, removed src/util.c")
        {
            Act = bench =>
            {
                bench.Context["src/main.c"] = new("1");
                bench.Context["src/new.h"] = new("2");
                bench.Context["src/lib/deep/a.c"] = new("3");
                bench.Context.Remove("src/util.c");
            },
        },
        ["mode"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (mode 0644 -> 0755)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int main;", 0x81ED),
        },
        ["owner"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (owner 0 -> 1000)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int main;", Uid: 1000),
        },
        ["mode and content of the same size"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (content, mode 0644 -> 0755)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int MAIN;", 0x81ED),
        },
        ["mode, asked later"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  modified src/main.c (mode 0644 -> 0755, perhaps content)")
        {
            Act = bench => bench.Context["src/main.c"] = new("int main;", 0x81ED),
            Live = false,
        },
        ["many files"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  "
            + string.Join(", ", Enumerable.Range(10, 10).Select(i => $"added src/{i}.c")) + ", 20 more")
        {
            Act = bench =>
            {
                for (var i = 10; i < 40; i++)
                    bench.Context[$"src/{i}.c"] = new("x");
            },
        },
        ["files that are forgotten"] = new(CopyName, "ran because its files changed since 24 Nov 18:02\n  which files those were is not remembered")
        {
            Limits = new() { ListBytes = 0 },
            Act = bench => bench.Context["src/main.c"] = new("int main();"),
        },
        ["input with other files"] = new(MakeName, "ran because its input changed: COPY src /src has other files than on 24 Nov 18:02\n  modified src/main.c (content), added src/new.h, 1 more")
        {
            Act = bench =>
            {
                bench.Context["src/main.c"] = new("1");
                bench.Context["src/new.h"] = new("2");
                bench.Context.Remove("src/util.c");
            },
        },
        ["input of an input"] = new(TestName, "ran because its input changed: COPY src /src has other files than on 24 Nov 18:02\n  modified src/main.c (content)")
        {
            Act = bench => bench.Context["src/main.c"] = new("1"),
        },
        ["command"] = new(MakeName, "ran because its command changed since 24 Nov 18:02: make -> make -j4") { After = Base with { Command = "make -j4" } },
        ["long command"] = new(MakeName, "ran because its command changed since 24 Nov 18:02\n  was: make\n  now: set -e\\nmake -j4\\nmake install")
        {
            After = Base with { Command = "set -e\nmake -j4\nmake install" },
        },
        ["command of an input"] = new(TestName, "ran because its input changed: in RUN make, its command changed since 24 Nov 18:02: make -> make -j4") { After = Base with { Command = "make -j4" } },
        ["build argument"] = new(MakeName, "ran because the build argument VERSION changed since 24 Nov 18:02: 1 -> 2")
        {
            Before = Base with { Configure = state => state.AddEnv("VERSION", "1") },
            After = Base with { Configure = state => state.AddEnv("VERSION", "2") },
            Options = new() { ["build-arg:VERSION"] = "" },
        },
        ["SOURCE_DATE_EPOCH"] = new(MakeName, "ran because the build argument SOURCE_DATE_EPOCH changed since 24 Nov 18:02: 0 -> 1700000000")
        {
            Before = Base with { Configure = state => state.AddEnv("SOURCE_DATE_EPOCH", "0") },
            After = Base with { Configure = state => state.AddEnv("SOURCE_DATE_EPOCH", "1700000000") },
            Options = new() { ["build-arg:SOURCE_DATE_EPOCH"] = "" },
        },
        ["environment variable"] = new(MakeName, "ran because the environment variable CC changed since 24 Nov 18:02: gcc -> clang")
        {
            Before = Base with { Configure = state => state.AddEnv("CC", "gcc") },
            After = Base with { Configure = state => state.AddEnv("CC", "clang") },
        },
        ["added environment variable"] = new(MakeName, "ran because the environment variable CC was added since 24 Nov 18:02: clang")
        {
            After = Base with { Configure = state => state.AddEnv("CC", "clang") },
        },
        ["removed environment variable"] = new(MakeName, "ran because the environment variable CC was removed since 24 Nov 18:02")
        {
            Before = Base with { Configure = state => state.AddEnv("CC", "clang") },
            After = Base,
        },
        ["working directory and user"] = new(MakeName, "ran because its working directory changed since 24 Nov 18:02: / -> /src\n  also: its user changed: \"\" -> app")
        {
            After = Base with { Configure = state => state.Dir("/src").User("app") },
        },
        ["network"] = new(MakeName, "ran because its network mode changed since 24 Nov 18:02: unset -> none") { After = Base with { Configure = state => state.Network(NetMode.None) } },
        ["host name"] = new(MakeName, "ran because its host name changed since 24 Nov 18:02: \"\" -> builder") { After = Base with { Configure = state => state.Hostname("builder") } },
        ["extra host"] = new(MakeName, "ran because the extra host db was added since 24 Nov 18:02")
        {
            After = Base with { Configure = state => state.AddExtraHost("db", System.Net.IPAddress.Loopback) },
        },
        ["limit"] = new(MakeName, "ran because the limit nofile changed since 24 Nov 18:02: 1:2 -> 3:4")
        {
            Before = Base with { Configure = state => state.AddUlimit("nofile", 1, 2) },
            After = Base with { Configure = state => state.AddUlimit("nofile", 3, 4) },
        },
        ["platform"] = new(MakeName, "ran because the platform changed since 24 Nov 18:02: linux/amd64 -> linux/arm64") { After = Base with { Platform = "linux/arm64" } },
        ["cache mount"] = new(MakeName, "ran because the cache mount at /root/.cache was added since 24 Nov 18:02: cache\n  note: what is in the cache mount at /root/.cache does not count")
        {
            After = Base with { Mounts = [RunMount.Cache("/root/.cache", "/root/.cache")] },
        },
        ["sharing of a cache mount"] = new(MakeName, "ran because the sharing of the cache mount at /c changed since 24 Nov 18:02: shared -> locked\n  note: what is in the cache mount at /c does not count")
        {
            Before = Base with { Mounts = [RunMount.Cache("/c", "/c")] },
            After = Base with { Mounts = [RunMount.Cache("/c", "/c", CacheSharingOpt.Locked)] },
        },
        ["secret"] = new(MakeName, "ran because the secret at /run/token changed since 24 Nov 18:02: a -> b\n  note: the secret b does not count: a changed one makes no step run")
        {
            Before = Base with { Secrets = [RunSecret.File("/run/token", "a")] },
            After = Base with { Secrets = [RunSecret.File("/run/token", "b")] },
        },
        ["size of a tmpfs"] = new(MakeName, "ran because the size of the tmpfs at /tmp changed since 24 Nov 18:02: 1 -> 2")
        {
            Before = Base with { Mounts = [RunMount.Tmpfs("/tmp", 1)] },
            After = Base with { Mounts = [RunMount.Tmpfs("/tmp", 2)] },
        },
        ["command with an agent"] = new(MakeName, "ran because its command changed since 24 Nov 18:02: make -> make all\n  note: the ssh agent default does not count: other keys make no step run")
        {
            Before = Base with { Ssh = [new RunSsh("default")] },
            After = Base with { Ssh = [new RunSsh("default")], Command = "make all" },
        },
        ["source of a copy"] = new(CopyName, "ran because the source it copies changed since 24 Nov 18:02: /src -> /lib\n  also: its files changed\n  added lib/, removed src/")
        {
            After = Base with { From = "lib" },
            Act = bench => bench.Context["lib/a.c"] = new("a"),
        },
        ["destination of a copy"] = new(CopyName, "ran because the destination changed since 24 Nov 18:02: /src -> /code") { After = Base with { To = "/code" } },
        ["owner of a copy"] = new(CopyName, "ran because the owner of the copies changed since 24 Nov 18:02: \"\" -> 1000:1000")
        {
            After = Base with { Copy = Base.Copy with { Owner = FileOwner.Ids(1000, 1000) } },
        },
        ["mode of a copy"] = new(CopyName, "ran because the mode of the copies changed since 24 Nov 18:02: \"\" -> 0755") { After = Base with { Copy = Base.Copy with { Mode = 0x1ED } } },
        ["patterns of a copy"] = new(CopyName, "ran because the pattern of files to leave out *.o was added since 24 Nov 18:02\n  also: its files changed\n  no file of those remembered differs")
        {
            After = Base with { Copy = Base.Copy with { ExcludePatterns = ["*.o"] } },
        },
        ["written file"] = new(HeredocName, "ran because the content it writes to /etc/app.conf changed since 24 Nov 18:02")
        {
            Before = Base with { Heredoc = "a" },
            After = Base with { Heredoc = "b" },
        },
        ["base image's name"] = new(CopyName, "ran because its input changed: the base image is alpine:3.20 and was alpine:3.19 on 24 Nov 18:02") { After = Base with { Image = "docker.io/library/alpine:3.20" } },
        ["base image behind a name"] = new(CopyName, "ran because its input changed: the base image alpine:3.19 is another one than on 24 Nov 18:02: sha256:7692c3ad3540 -> sha256:3fc4ccfe7458")
        {
            Arrange = bench => bench.Images["alpine:3.19"] = "one",
            Act = bench => bench.Images["alpine:3.19"] = "two",
        },
        ["image behind a name"] = new(FromName, "ran because alpine:3.19 is another image than on 24 Nov 18:02: sha256:7692c3ad3540 -> sha256:3fc4ccfe7458")
        {
            Arrange = bench => bench.Images["alpine:3.19"] = "one",
            Act = bench => bench.Images["alpine:3.19"] = "two",
        },
        ["step put in between"] = new(MakeName, "ran because its input changed: RUN ./configure was put before it since 24 Nov 18:02") { After = Base with { Inserted = "./configure" } },
        ["step taken out"] = new(MakeName, "ran because its input changed: RUN ./configure, which came before it on 24 Nov 18:02, is gone")
        {
            Before = Base with { Inserted = "./configure" },
            After = Base,
        },
        ["no-cache"] = new(MakeName, "ran because the cache was not to be used (no-cache); else its result of 24 Nov 18:02 would have been taken")
        {
            After = Base with { IgnoreCache = true },
            Options = new() { ["no-cache"] = "" },
        },
        ["no-cache for a stage"] = new(MakeName, "ran because the cache was not to be used for build (no-cache); else its result of 24 Nov 18:02 would have been taken")
        {
            After = Base with { IgnoreCache = true },
            Options = new() { ["no-cache"] = "build" },
        },
        ["no-cache by definition"] = new(MakeName, "ran because its definition says not to use the cache") { Before = null, After = Base with { IgnoreCache = true } },
        ["pruned by hand"] = new(MakeName, "ran because its result of 24 Nov 18:02 was pruned on 24 Nov 19:00 by buildctl prune (all)")
        {
            ActAsync = bench => bench.At(19).PruneAsync("buildctl prune (all)"),
        },
        ["pruned by a rule"] = new(MakeName, "ran because its result of 24 Nov 18:02 was pruned on 24 Nov 19:00 by garbage collection, rule 2 (max used space 10GB)")
        {
            ActAsync = bench => bench.At(19).PruneAsync("garbage collection, rule 2 (max used space 10GB)"),
        },
        ["gone"] = new(MakeName, "ran because its result of 24 Nov 18:02 is gone from storage, though it was not pruned")
        {
            ActAsync = bench => bench.PruneAsync("", told: false),
        },
        ["no key"] = new(MakeName, "ran although its result of 24 Nov 18:02 is there: no key leads to it any more")
        {
            Act = bench =>
            {
                foreach (var id in bench.Trees.Keys)
                    bench.Keys.Release("worker::" + id);
            },
        },
        ["unloadable"] = new(TestName, "ran because its result of 24 Nov 18:02 could not be loaded: blob sha256:1234 is missing")
        {
            Act = bench => bench.Unloadable["worker::" + bench.Trees.Keys.OrderBy(id => id.Length).ThenBy(id => id, StringComparer.Ordinal).Last()] = "blob sha256:1234 is missing",
        },
        ["failed before"] = new(TestName, "ran because it failed when it last ran, on 24 Nov 18:02")
        {
            Arrange = bench => bench.Failing.Add(TestName),
            Act = bench => bench.Failing.Clear(),
        },
        ["files of another stage"] = new(FinalName, "ran because the files it takes from RUN make test changed since 24 Nov 18:02\n  modified out/app (content)")
        {
            Before = Base with { HasFinalStage = true },
            After = Base with { HasFinalStage = true, Test = "make test check" },
        },
        ["import with nothing for it"] = new(MakeName, "ran because it was never built here, and the imported cache registry.example/app has nothing for it")
        {
            Before = null,
            Imports = [new() { Name = "registry.example/app" }],
        },
        ["import that does not exist"] = new(MakeName, "ran because it was never built here, and the imported cache registry.example/app could not be used: it does not exist")
        {
            Before = null,
            Imports = [new() { Name = "registry.example/app", Problem = "not-found", Error = "manifest unknown" }],
        },
        ["import that cannot be reached"] = new(MakeName, "ran because it was never built here, and the imported cache registry.example/app could not be used: it cannot be reached")
        {
            Before = null,
            Imports = [new() { Name = "registry.example/app", Problem = "unreachable", Error = "connection refused" }],
        },
        ["import that is no cache"] = new(MakeName, "ran because it was never built here, and the imported cache registry.example/app could not be used: what is there is no cache")
        {
            Before = null,
            Imports = [new() { Name = "registry.example/app", Problem = "invalid", Error = "bad" }],
        },
        ["unreadable file"] = new(CopyName, "has no key, because a file it needs cannot be read: failed to calculate checksum of ref worker::REF: \"/src\": not found")
        {
            Act = bench => bench.Context.Clear(),
            Normalize = text => System.Text.RegularExpressions.Regex.Replace(text, "worker::ref[0-9]+", "worker::REF"),
        },
    };

    public static TheoryData<string> Names => [.. Causes.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_cause_is_found_and_told(string name)
    {
        var cause = Causes[name];
        await using var bench = new ExplainBench(cause.Limits);
        cause.Arrange?.Invoke(bench);
        if (cause.Before is { } before)
            await bench.BuildAsync(before.State);
        if (cause.ActAsync is not null)
            await cause.ActAsync(bench);
        cause.Act?.Invoke(bench);
        bench.Clock.Now = new DateTimeOffset(2026, 11, 25, 9, 0, 0, TimeSpan.Zero);
        List<ICacheManager> sources = [.. cause.Imports.Where(import => import.Problem.Length == 0).Select(import => new LocalCacheManager(import.Name + "#0", new InMemoryKeyStorage(), bench))];
        var explanation = await bench.BuildAsync(cause.After.State, null, sources, cause.Imports, cause.Options, cause.Live);
        var text = bench.Text(explanation, cause.Step);
        Assert.Equal(cause.Text, cause.Normalize(text));
    }

    public static TheoryData<string, string, string, string> Rare => new()
    {
        { "canceled", "", "", "ran because it was cancelled when it last ran, on 24 Nov 18:02" },
        { "at-once", "", "", "ran because the same step of build b had not ended when this one was looked up" },
        { "input", "replaced", "[1/3] RUN before", "ran because its input changed: RUN now stands where RUN before stood on 24 Nov 18:02" },
        { "input", "rerun", "", "ran because its input changed: RUN now was made anew since 24 Nov 18:02" },
        { "input", "unknown", "", "ran because its input changed: RUN now is not what it was on 24 Nov 18:02; what it was is not remembered" },
        { "from-the-future", "", "", "ran for a reason this client does not know (from-the-future)" },
    };

    [Theory]
    [MemberData(nameof(Rare))]
    public void A_rare_cause_is_told(string cause, string origin, string before, string expected)
    {
        var clock = new BenchClock();
        var step = new StepExplanation
        {
            Cause = cause,
            Earlier = new Earlier { Build = "b", Time = Google.Protobuf.WellKnownTypes.Timestamp.FromDateTimeOffset(clock.Now) },
            Origin = origin.Length == 0 ? null : new Origin { Name = "[2/3] RUN now", Cause = origin, Differences = { new Difference { Field = "step", Before = before, After = "[2/3] RUN now" } } },
        };
        Assert.Equal(expected, new BuildKit.Cli.Text.ExplanationText(clock, static _ => null).Sentence(step, new BuildExplanation()));
    }

    [Fact]
    public void There_are_enough_causes() => Assert.True(Causes.Count >= 25);

    private sealed record Cause(string Step, string Text)
    {
        public Recipe? Before { get; init; } = CauseTests.Base;

        public Recipe After { get; init; } = CauseTests.Base;

        public Action<ExplainBench>? Arrange { get; init; }

        public Action<ExplainBench>? Act { get; init; }

        public Func<ExplainBench, Task>? ActAsync { get; init; }

        public IReadOnlyList<CacheImport> Imports { get; init; } = [];

        public Dictionary<string, string>? Options { get; init; }

        public BuildKit.Daemon.Explaining.StepStoreLimits? Limits { get; init; }

        public bool Live { get; init; } = true;

        public Func<string, string> Normalize { get; init; } = text => text;
    }
}

internal static class BenchTimes
{
    /// <summary>Moves the clock to an hour of the first day.</summary>
    public static ExplainBench At(this ExplainBench bench, int hour)
    {
        bench.Clock.Now = new DateTimeOffset(2026, 11, 24, hour, 0, 0, TimeSpan.Zero);
        return bench;
    }
}
