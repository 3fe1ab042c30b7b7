using System.Text;
using System.Text.Json;
using BuildKit.Daemon.Attesting;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Worker.Sources;
using Google.Protobuf;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Daemon.Attesting;

/// <summary>Provenance as it is written (spec 07 §9.3).</summary>
public sealed class ProvenancePredicateTests
{
    private const string Invocation = "\"buildInvocationID\":\"id\",\"buildStartedOn\":\"2024-01-02T03:04:05Z\",\"buildFinishedOn\":\"2024-01-02T03:04:06.5Z\"";

    private static readonly BuildInvocation Build = new(
        "id", new DateTimeOffset(2024, 1, 2, 4, 4, 5, TimeSpan.FromHours(1)), new DateTimeOffset(2024, 1, 2, 3, 4, 6, 500, TimeSpan.Zero));

    private static string Write(ProvenanceCapture capture, string settings = "", Definition? definition = null) => Encoding.UTF8.GetString(ProvenancePredicate.Write(
        capture, ProvenanceOptions.Parse(settings.Split(',', StringSplitOptions.RemoveEmptyEntries).ToDictionary(s => s.Split('=')[0], s => s.Split('=')[1], StringComparer.Ordinal)),
        Build, new Platform("linux", "amd64"), definition));

    private static ProvenanceCapture Capture(IReadOnlyDictionary<string, string> options, params (Vertex, IOperation)[] operations)
    {
        var capture = new ProvenanceCapture();
        foreach (var (vertex, operation) in operations)
            capture.Add(vertex, operation);
        capture.SetRequest(new FrontendRequest("f", options, HasInputs: false));
        return capture;
    }

    [Fact]
    public void A_build_of_nothing_is_told_in_few_words() => Assert.Equal(
        WithTimes("""
            {"builder":{"id":""},"buildType":"https://mobyproject.org/buildkit@v1","invocation":{"configSource":{},"parameters":{},"environment":{"platform":"linux/amd64"}},
            "buildConfig":{},"metadata":{@times@,"completeness":{"parameters":false,"environment":true,"materials":true},"reproducible":false,
            "https://mobyproject.org/buildkit@v1#metadata":{},"https://mobyproject.org/buildkit@v1#hermetic":true}}
            """),
        Write(new ProvenanceCapture()));

    [Theory]
    [InlineData("context=https://g.example/r.git#main", """{"uri":"https://g.example/r.git#main","digest":{"sha1":"c0ffee"}}""", """{"frontend":"f"}""")]
    [InlineData("context=https://u:p@w.example/f", """{"uri":"https://xxxxx:xxxxx@w.example/f","digest":{"sha256":"@ONE@"}}""", """{"frontend":"f"}""")]
    [InlineData("context=https://elsewhere/", """{"uri":"https://elsewhere/"}""", """{"frontend":"f"}""")]
    [InlineData("context=|filename=D|a=b", """{"entryPoint":"D"}""", """{"frontend":"f","args":{"a":"b","context":""}}""")]
    [InlineData("contextkey=k|k=https://elsewhere/|context=x", """{"uri":"https://elsewhere/"}""", """{"frontend":"f","args":{"context":"x","contextkey":"k"}}""")]
    public void Where_the_build_comes_from_is_no_argument(string options, string source, string parameters)
    {
        var capture = Capture(
            options.Split('|').ToDictionary(o => o.Split('=', 2)[0], o => o.Split('=', 2)[1], StringComparer.Ordinal),
            CaptureBench.Source(new GitMaterial("https://g.example/r.git#main", [], ""), "c0ffee"),
            CaptureBench.Source(new HttpMaterial("https://u:p@w.example/f"), CaptureBench.One.ToString()));
        using var json = JsonDocument.Parse(Write(capture));
        var invocation = json.RootElement.GetProperty("invocation");
        Assert.Equal(source.Replace("@ONE@", CaptureBench.One.Hex, StringComparison.Ordinal), invocation.GetProperty("configSource").GetRawText());
        Assert.Equal(parameters, invocation.GetProperty("parameters").GetRawText());
    }

    [Fact]
    public void Min_leaves_out_arguments_labels_secrets_and_steps()
    {
        var options = new Dictionary<string, string>(StringComparer.Ordinal) { ["build-arg:A"] = "x", ["label:L"] = "x", ["target"] = "t", ["vcs:revision"] = "1", ["vcs:source"] = "https://t@h/", ["vcs:empty"] = "" };
        var capture = Capture(options, CaptureBench.Source(new GitMaterial("https://g/r", ["S"], "A"), "c0ffee"), CaptureBench.Source(new LocalMaterial("l")));
        using var max = JsonDocument.Parse(Write(capture));
        using var min = JsonDocument.Parse(Write(capture, "mode=min,builder-id=b,reproducible=true"));
        Assert.Equal(
            """{"frontend":"f","args":{"build-arg:A":"x","label:L":"x","target":"t"},"secrets":[{"id":"S","optional":true}],"ssh":[{"id":"A","optional":true}],"locals":[{"name":"l"}]}""",
            max.RootElement.GetProperty("invocation").GetProperty("parameters").GetRawText());
        Assert.Equal("""{"frontend":"f","args":{"target":"t"},"locals":[{"name":"l"}]}""", min.RootElement.GetProperty("invocation").GetProperty("parameters").GetRawText());
        Assert.True(max.RootElement.TryGetProperty("buildConfig", out _));
        Assert.False(min.RootElement.TryGetProperty("buildConfig", out _));
        Assert.Equal("""{"id":"b"}""", min.RootElement.GetProperty("builder").GetRawText());
        Assert.Equal(
            WithTimes("""
                {@times@,"completeness":{"parameters":false,"environment":true,"materials":false},"reproducible":true,
                "https://mobyproject.org/buildkit@v1#metadata":{"vcs":{"revision":"1","source":"https://xxxxx@h/"}}}
                """),
            min.RootElement.GetProperty("metadata").GetRawText());
        // What is left out only counts when there was something.
        using var plain = JsonDocument.Parse(Write(Capture(new Dictionary<string, string>(StringComparer.Ordinal) { ["target"] = "t" }), "mode=min"));
        Assert.True(plain.RootElement.GetProperty("metadata").GetProperty("completeness").GetProperty("parameters").GetBoolean());
    }

    [Theory]
    [InlineData("docker.io/library/busybox:latest", false, "pkg:docker/busybox@latest?platform=linux%2Farm%2Fv7")]
    [InlineData("busybox", false, "pkg:docker/busybox@latest?platform=linux%2Farm%2Fv7")]
    [InlineData("127.0.0.1:5000/a/b:v1", false, "pkg:docker/127.0.0.1%3A5000/a/b@v1?platform=linux%2Farm%2Fv7")]
    [InlineData("foo/bar@@ONE@", false, "pkg:docker/foo/bar?digest=@ONE@&platform=linux%2Farm%2Fv7")]
    [InlineData("foo/bar:v1@@ONE@", true, "pkg:oci/foo/bar@v1?digest=@ONE@&platform=linux%2Farm%2Fv7")]
    public void Images_are_named_by_package_urls(string reference, bool isLocal, string url)
    {
        var capture = new ProvenanceCapture();
        capture.Add(new CapturedImage(reference.Replace("@ONE@", CaptureBench.One.ToString(), StringComparison.Ordinal), new Platform("linux", "arm", "v7"), default, isLocal));
        using var json = JsonDocument.Parse(Write(capture));
        Assert.Equal(
            url.Replace("@ONE@", CaptureBench.One.ToString(), StringComparison.Ordinal), Assert.Single(json.RootElement.GetProperty("materials").EnumerateArray()).GetProperty("uri").GetString());
    }

    [Fact]
    public async Task Steps_come_inputs_first_and_each_once()
    {
        var shared = State.Http("https://user:pw@h.example/f", new HttpOptions());
        var left = State.Scratch.File(Files.Copy(shared, "/f", "/l", new CopyOptions()));
        var both = left.File(Files.Copy(shared, "/f", "/r", new CopyOptions()));
        var definition = await both.MarshalAsync(null, default);
        using var json = JsonDocument.Parse(Write(new ProvenanceCapture(), definition: definition));
        var config = json.RootElement.GetProperty("buildConfig");
        var steps = config.GetProperty("llbDefinition").EnumerateArray().ToList();
        Assert.Equal(["step0:", "step1:step0:0", "step2:step1:0 step0:0", "step3:step2:0"], steps.Select(step =>
            $"{step.GetProperty("id").GetString()}:{(step.TryGetProperty("inputs", out var inputs) ? string.Join(' ', inputs.EnumerateArray().Select(i => i.GetString())) : "")}"));
        Assert.Contains("\"identifier\":\"https://xxxxx:xxxxx@h.example/f\"", steps[0].GetRawText(), StringComparison.Ordinal);
        Assert.Equal("""{"Op":{}}""", steps[^1].GetProperty("op").GetRawText());
        // Digests are those of what was sent.
        Assert.Equal("step3", config.GetProperty("digestMapping").GetProperty(Digest.Sha256(definition.Def[^1].Span).ToString()).GetString());
        Assert.Equal(4, config.GetProperty("digestMapping").EnumerateObject().Count());
    }

    [Fact]
    public void What_only_one_build_knows_is_no_part_of_a_step()
    {
        var local = new Op { Source = new SourceOp { Identifier = "local://context", Attrs = { ["local.session"] = "s", ["local.unique"] = "u", ["local.sharedkeyhint"] = "h" } } };
        var git = new Op { Source = new SourceOp { Identifier = "git://h.example/r", Attrs = { ["git.fullurl"] = "https://token@h.example/r" } } };
        foreach (var (op, shown) in new[]
        {
            (local, """{"identifier":"local://context","attrs":{"local.sharedkeyhint":"h"}}"""),
            (git, """{"identifier":"git://h.example/r","attrs":{"git.fullurl":"https://xxxxx@h.example/r"}}"""),
        })
        {
            var definition = Definition(op, Last(op));
            using var json = JsonDocument.Parse(Write(new ProvenanceCapture(), definition: definition));
            Assert.Equal(shown, json.RootElement.GetProperty("buildConfig").GetProperty("llbDefinition")[0].GetProperty("op").GetProperty("Op").GetProperty("source").GetRawText());
        }
    }

    [Fact]
    public void A_broken_definition_is_refused()
    {
        var source = new Op { Source = new SourceOp { Identifier = "local://x" } };
        Assert.StartsWith("invalid last vertex", Assert.Throws<LlbException>(() => BuildSteps.Of(Definition(source))).Message, StringComparison.Ordinal);
        Assert.StartsWith("failed to find input sha256:", Assert.Throws<LlbException>(() => BuildSteps.Of(Definition(Last(source)))).Message, StringComparison.Ordinal);
        Assert.StartsWith("failed to parse llb proto op", Assert.Throws<LlbException>(() => BuildSteps.Of(new Definition { Def = { ByteString.CopyFromUtf8("\u007f") } })).Message, StringComparison.Ordinal);
        Assert.Null(BuildSteps.Of(new Definition()));
    }

    [Fact]
    public void Sources_of_steps_are_told_with_their_places()
    {
        var op = new Op { Source = new SourceOp { Identifier = "local://x" } };
        var definition = Definition(op, Last(op));
        definition.Source = new Source
        {
            Infos = { new SourceInfo { Filename = "F", Language = "L", Data = ByteString.CopyFromUtf8("text"), Definition = Definition(op, Last(op)) } },
            Locations = { [Digest.Sha256(op.ToByteArray()).ToString()] = new Locations(), ["sha256:other"] = new Locations() },
        };
        using var json = JsonDocument.Parse(Write(new ProvenanceCapture(), definition: definition));
        var source = json.RootElement.GetProperty("metadata").GetProperty("https://mobyproject.org/buildkit@v1#metadata").GetProperty("source");
        Assert.Equal("""{"step0":{}}""", source.GetProperty("locations").GetRawText());
        Assert.StartsWith("""[{"filename":"F","language":"L","data":"dGV4dA==","llbDefinition":[{"id":"step0",""", source.GetProperty("infos").GetRawText(), StringComparison.Ordinal);
    }

    private static string WithTimes(string json) =>
        json.ReplaceLineEndings("").Replace("@times@", Invocation, StringComparison.Ordinal);

    private static Op Last(Op input) => new() { Inputs = { new Input { Digest = Digest.Sha256(input.ToByteArray()).ToString() } } };

    private static Definition Definition(params Op[] ops) => new() { Def = { ops.Select(op => op.ToByteString()) } };
}
