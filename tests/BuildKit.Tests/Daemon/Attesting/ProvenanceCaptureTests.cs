using BuildKit.Daemon.Attesting;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Sources;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Daemon.Attesting;

/// <summary>What went into a result (spec 07 §9.2).</summary>
public sealed class ProvenanceCaptureTests
{
    private static readonly Platform Amd64 = new("linux", "amd64");
    private static readonly Platform Arm64 = new("linux", "arm64");

    private static readonly IReadOnlyList<ResultPlatform> Both = [new("linux/amd64", Amd64), new("linux/arm64", Arm64)];

    private static ProvenanceCapture Capture(params (Vertex, IOperation)[] operations)
    {
        var capture = new ProvenanceCapture();
        foreach (var (vertex, operation) in operations)
            capture.Add(vertex, operation);
        return capture;
    }

    [Fact]
    public void Sources_are_told_by_what_they_were()
    {
        var capture = Capture(
            CaptureBench.Source(new HttpMaterial("https://u:p@b.example/f"), CaptureBench.One.ToString()),
            CaptureBench.Source(new HttpMaterial("https://a.example/f"), CaptureBench.Two.ToString()),
            CaptureBench.Source(new GitMaterial("https://token@g.example/r.git#main", ["SECRET"], "agent"), "c0ffee"),
            CaptureBench.Source(new ImageMaterial("docker.io/library/a:v1", Amd64, IsLocal: false), CaptureBench.One.ToString()),
            CaptureBench.Source(new ImageMaterial("docker.io/library/a:v1", Amd64, IsLocal: false), CaptureBench.Two.ToString()));
        Assert.Equal([new CapturedFile("https://a.example/f", CaptureBench.Two), new CapturedFile("https://xxxxx:xxxxx@b.example/f", CaptureBench.One)], capture.Files);
        Assert.Equal([new CapturedCommit("https://xxxxx@g.example/r.git#main", "c0ffee")], capture.Commits);
        // Of two that are named the same, the first counts.
        Assert.Equal([new CapturedImage("docker.io/library/a:v1", Amd64, CaptureBench.One, IsLocal: false)], capture.Images);
        Assert.Equal(("SECRET", true), (Assert.Single(capture.Secrets).Key, capture.Secrets["SECRET"]));
        Assert.Equal(("agent", true), (Assert.Single(capture.SshAgents).Key, capture.SshAgents["agent"]));
        Assert.False(capture.IsIncomplete);
        Assert.False(capture.HasNetworkAccess);
    }

    [Fact]
    public void A_source_that_was_not_looked_up_leaves_the_list_incomplete()
    {
        var capture = Capture(CaptureBench.Source(new ImageMaterial("docker.io/library/a:v1", Amd64, IsLocal: false)));
        Assert.Empty(capture.Images);
        Assert.True(capture.IsIncomplete);
    }

    [Fact]
    public async Task Commands_tell_their_secrets_agents_and_network()
    {
        var optional = await CaptureBench.ExecAsync(exec =>
        {
            exec.Network = NetMode.None;
            exec.Mounts.Add(new Mount { MountType = MountType.Secret, SecretOpt = new SecretOpt { ID = "a", Optional = true } });
            exec.Mounts.Add(new Mount { MountType = MountType.Ssh, SSHOpt = new SSHOpt { Optional = true } });
            exec.Secretenv.Add(new SecretEnv { ID = "b", Name = "B", Optional = true });
        });
        var capture = Capture(optional);
        Assert.Equal([("a", true), ("b", true)], capture.Secrets.Select(secret => (secret.Key, secret.Value)));
        Assert.Equal([("default", true)], capture.SshAgents.Select(agent => (agent.Key, agent.Value)));
        Assert.False(capture.HasNetworkAccess);
        // Needed once, needed for all.
        var needed = await CaptureBench.ExecAsync(exec => exec.Mounts.Add(new Mount { MountType = MountType.Secret, SecretOpt = new SecretOpt { ID = "a" } }));
        capture = Capture(optional, needed, optional);
        Assert.Equal([("a", false), ("b", true)], capture.Secrets.Select(secret => (secret.Key, secret.Value)));
        Assert.True(capture.HasNetworkAccess);
    }

    [Fact]
    public void An_image_named_by_its_digest_is_left_out_where_its_tag_is_listed()
    {
        var capture = Capture();
        capture.Add(new CapturedImage($"docker.io/library/a:v1@{CaptureBench.One}", Amd64, CaptureBench.One, IsLocal: false));
        capture.Add(new CapturedImage("a:v1", Amd64, CaptureBench.One, IsLocal: false));
        capture.Add(new CapturedImage($"docker.io/library/b@{CaptureBench.Two}", Amd64, CaptureBench.Two, IsLocal: false));
        capture.Add(new CapturedImage("b:other", Amd64, CaptureBench.Two, IsLocal: false));
        capture.OmitPinnedTwins();
        Assert.Equal(["a:v1", "b:other", $"docker.io/library/b@{CaptureBench.Two}"], capture.Images.Select(image => image.Reference));
    }

    [Fact]
    public void Options_of_one_machine_are_no_arguments_and_addresses_show_no_credentials()
    {
        var arguments = FrontendArguments.Of(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["cgroup-parent"] = "c",
            ["image-resolve-mode"] = "pull",
            ["platform"] = "linux/amd64",
            ["cache-imports"] = "[{\"Attrs\":{\"secret\":\"x\"}}]",
            ["attest:provenance"] = "",
            ["build-arg:A"] = "https://u:p@h/",
            ["contextkey"] = "where",
            ["where"] = "https://u:p@h/x.git#main",
            ["context"] = "https://u:p@h/y",
            ["context:other"] = "https://t@h/z",
            ["context:image"] = $"docker-image://a@{CaptureBench.One}",
        });
        Assert.Equal(
            [
                ("build-arg:A", "https://u:p@h/"), ("context", "https://xxxxx:xxxxx@h/y"), ("context:image", $"docker-image://a@{CaptureBench.One}"),
                ("context:other", "https://xxxxx@h/z"), ("contextkey", "where"), ("where", "https://xxxxx:xxxxx@h/x.git#main"),
            ],
            arguments.OrderBy(argument => argument.Key, StringComparer.Ordinal).Select(argument => (argument.Key, argument.Value)));
    }

    [Fact]
    public async Task A_result_takes_in_what_its_frontend_looked_at_and_not_the_other_results()
    {
        var root = new CaptureScope(null);
        var outer = new CaptureScope(new FrontendRequest("outer", new Dictionary<string, string>(StringComparer.Ordinal) { ["a"] = "1" }, HasInputs: false));
        var inner = new CaptureScope(new FrontendRequest("inner", new Dictionary<string, string>(StringComparer.Ordinal) { ["b"] = "2" }, HasInputs: true));
        root.Add(outer);
        outer.Add(inner);
        outer.Add(await CaptureBench.ResultAsync(CaptureBench.Source(new LocalMaterial("outer"))));
        var looked = await CaptureBench.ResultAsync(CaptureBench.Source(new LocalMaterial("dockerfile")));
        var ignored = CaptureBench.Unevaluated(CaptureBench.Source(new LocalMaterial("ignored")));
        var one = await CaptureBench.ResultAsync(CaptureBench.Source(new LocalMaterial("one")));
        var two = await CaptureBench.ResultAsync(CaptureBench.Source(new LocalMaterial("two")));
        foreach (var result in new[] { looked, ignored, one, two })
            inner.Add(result);
        var capture = new ResultCaptures([one, two], root, Both).Of(one, platform: null);
        Assert.Equal(["dockerfile", "one"], capture.Locals);
        Assert.Equal(("inner", "b"), (capture.Frontend, Assert.Single(capture.Arguments).Key));
        Assert.True(capture.IsIncomplete); // definitions handed to a frontend are not followed
        // A result no frontend made is the build's own.
        var own = await CaptureBench.ResultAsync();
        root.Add(own);
        Assert.Equal("", new ResultCaptures([own], root, Both).Of(own, platform: null).Frontend);
    }

    [Theory]
    [InlineData("linux/amd64", "both amd64, half arm64, none")]
    [InlineData("linux/arm64", "both arm64, half arm64, none")]
    [InlineData(null, "both amd64, both arm64, half arm64, none")]
    public async Task An_image_of_every_platform_is_told_where_it_belongs(string? platform, string expected)
    {
        var scope = new CaptureScope(null);
        var result = await CaptureBench.ResultAsync();
        scope.Add(result);
        foreach (var image in new (string Name, Platform? Platform)[] { ("both", Amd64), ("both", Arm64), ("half", Arm64), ("none", null) })
            scope.Add(new CapturedImage(image.Name, image.Platform, default, IsLocal: false));
        var capture = new ResultCaptures([result], scope, Both).Of(result, platform);
        Assert.Equal(expected, string.Join(", ", capture.Images.Select(image => $"{image.Reference} {image.Platform?.Architecture}".TrimEnd())));
    }
}
