using System.Text.Json;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using Google.Protobuf;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Llb;

public sealed class LoadGoldenTests
{
    private const string MkfileDigest = "sha256:731bfba4568de992a688a1ff1c0fddbfb8791b2dea3f98648272bef36607c3d4";

    private static readonly LlbLoadOptions s_everything = new() { AllowNetworkHost = true, AllowSecurityInsecure = true, CheckDevices = _ => { } };

    public static TheoryData<string> Examples() => MarshalGoldenTests.Examples();

    public static TheoryData<string, string> Invalid()
    {
        var data = new TheoryData<string, string>();
        foreach (var test in Golden.List(Golden.Path("llb", "invalid", "index.json"), "cases"))
            data.Add(test.GetProperty("name").GetString()!, test.GetProperty("error").GetString()!);
        return data;
    }

    [GoldenTheory]
    [MemberData(nameof(Examples))]
    public void Known_definitions_load_with_the_digests_their_clients_computed(string name)
    {
        var definition = Read(name + ".pb");
        if (definition.Def.Count == 0)
        {
            Assert.Equal("invalid empty definition", Assert.Throws<LlbException>(() => LlbGraph.Load(definition)).Message);
            return;
        }

        var graph = LlbGraph.Load(definition, options: s_everything);
        var last = Op.Parser.ParseFrom(definition.Def[^1]).Inputs[0];
        Assert.Equal(last.Digest, graph.Result.Vertex.Digest.ToString());
        Assert.Equal(last.Index, graph.Result.Index);
        Assert.Equal(
            definition.Def.SkipLast(1).Select(op => Digest.Sha256(op.Span).ToString()).Order(StringComparer.Ordinal),
            graph.Vertices.Select(vertex => vertex.Digest.ToString()).Order(StringComparer.Ordinal));
        Assert.All(graph.Vertices, vertex => Assert.Equal(vertex.Digest, vertex.SentDigest));
        Assert.All(graph.Vertices, vertex => Assert.NotNull(vertex.Metadata));
    }

    [GoldenTheory]
    [MemberData(nameof(Invalid))]
    public void Broken_definitions_fail_with_the_known_words_or_load_when_only_running_finds_the_fault(string name, string error)
    {
        const string prefix = "failed to solve: failed to load LLB: ";
        var definition = Read("invalid/" + name + ".pb");
        if (error.StartsWith(prefix, StringComparison.Ordinal))
            Assert.Equal(error[prefix.Length..], Assert.Throws<LlbException>(() => LlbGraph.Load(definition)).Message);
        else
            Assert.NotEmpty(LlbGraph.Load(definition).Vertices);
    }

    [Fact]
    public void Operations_in_another_encoding_get_the_canonical_digest()
    {
        var vertex = LlbGraph.Load(Read("invalid/noncanonical-order.pb")).Result.Vertex;
        Assert.Equal(MkfileDigest, vertex.Digest.ToString());
        Assert.Equal("sha256:74ee2dc745b5bbd2e4d2c38f99d9bc79e96f002bd3e4bfeac824b54f9b15e859", vertex.SentDigest.ToString());
    }

    [Fact]
    public void An_old_clients_image_gets_the_canonical_digest_and_keeps_its_metadata()
    {
        var op = Convert.FromHexString("1a2e0a2c646f636b65722d696d6167653a2f2f646f636b65722e696f2f6c6962726172792f616c70696e653a332e3139520e0a05616d64363412056c696e75785a00");
        var definition = Graph(op, 0);
        definition.Metadata.Add(Digest.Sha256(op).ToString(), new OpMetadata { IgnoreCache = true });
        var vertex = LlbGraph.Load(definition).Result.Vertex;
        Assert.Equal("sha256:d76f168e6859e9d648332ead9530c3005bb2cd99b7b8b570d2f5946343dae9d8", vertex.Digest.ToString());
        Assert.True(vertex.Metadata!.IgnoreCache);
    }

    [Fact]
    public async Task Platforms_are_normalised_after_the_digest_was_taken()
    {
        var state = State.Image("alpine", new ImageOptions { Constraints = new OpConstraints { Platform = new Platform("linux", "aarch64", "v8") } });
        var definition = await state.File(Files.Mkdir("/a", 0x1ed)).MarshalAsync(GoldenPrograms.Amd64);
        var graph = LlbGraph.Load(definition, options: new LlbLoadOptions { DefaultPlatform = new Platform("linux", "x86_64") });
        var source = graph.Result.Vertex.Inputs[0].Vertex;
        Assert.Equal(new Platform("linux", "arm64"), source.Op.Platform.ToOci());
        Assert.Equal(Digest.Sha256(definition.Def[0].Span), source.Digest);
        Assert.Equal(new Platform("linux", "amd64"), graph.Result.Vertex.Op.Platform.ToOci());
    }

    [Fact]
    public async Task A_converted_source_changes_every_digest_above_it_and_only_those()
    {
        var definition = await State.Image("alpine:3.19").File(Files.Copy(State.Local("c"), "/", "/")).MarshalAsync(GoldenPrograms.Amd64);
        var policy = new SourcePolicyEngine(SourcePolicyJson.Parse(
            """{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/library/alpine:3.19"},"updates":{"identifier":"docker-image://docker.io/library/busybox:1"}}]}"""u8));
        var graph = LlbGraph.Load(definition, policy);
        var (image, local) = (graph.Result.Vertex.Inputs[0].Vertex, graph.Result.Vertex.Inputs[1].Vertex);
        Assert.Equal("docker-image://docker.io/library/busybox:1", image.Op.Source.Identifier);
        Assert.NotEqual(image.SentDigest, image.Digest);
        Assert.NotEqual(graph.Result.Vertex.SentDigest, graph.Result.Vertex.Digest);
        Assert.Equal(local.SentDigest, local.Digest);
        Assert.NotNull(image.Metadata);
    }

    [Fact]
    public async Task A_denied_source_says_which()
    {
        var definition = await State.Image("alpine").MarshalAsync(GoldenPrograms.Amd64);
        var policy = new SourcePolicyEngine(SourcePolicyJson.Parse("""{"rules":[{"action":"DENY","selector":{"identifier":"*"}}]}"""u8));
        Assert.Equal(
            "error evaluating the source policy: source \"docker-image://docker.io/library/alpine:latest\" denied by policy: source denied by policy",
            Assert.Throws<LlbException>(() => LlbGraph.Load(definition, policy)).Message);
    }

    [Fact]
    public async Task Entitlements_are_needed_for_the_host_network_and_for_unconfined_commands()
    {
        var host = await State.Scratch.Network(NetMode.Host).Run("x").MarshalAsync();
        Assert.Equal("network.host is not allowed", Assert.Throws<LlbException>(() => LlbGraph.Load(host)).Message);
        Assert.NotNull(LlbGraph.Load(host, options: s_everything));
        var insecure = await State.Scratch.Security(SecurityMode.Insecure).Run("x").MarshalAsync();
        Assert.Equal("security.insecure is not allowed", Assert.Throws<LlbException>(() => LlbGraph.Load(insecure)).Message);
        var device = await State.Scratch.Run(new RunOptions { Args = ["x"], Devices = [new RunDevice("v.com/gpu=0")] }).MarshalAsync();
        Assert.Equal("device v.com/gpu=0 is requested by the build but not allowed", Assert.Throws<LlbException>(() => LlbGraph.Load(device)).Message);
    }

    [Fact]
    public async Task Names_tell_what_an_operation_does_unless_the_client_named_it()
    {
        var files = State.Scratch.File(Files.Mkdir("/d", 0x1ed).Mkfile("/f", 0x1a4, default).Symlink("f", "/l").Remove("/f").Copy(State.Scratch, "/a", "/b"));
        var merged = State.Merge([files, State.Image("alpine")]);
        Assert.Equal(
            "diff (merge (mkdir /d, mkfile /f, symlink /l -> f, rm /f, copy /a /b, docker-image://docker.io/library/alpine:latest)) -> scratch",
            LlbGraph.Load(await State.Diff(merged, State.Scratch).MarshalAsync()).Result.Vertex.Name);
        var named = State.Scratch.Run("make all", OpConstraints.None.WithCustomName("[1/1] RUN make"));
        Assert.Equal("[1/1] RUN make", LlbGraph.Load(await named.MarshalAsync()).Result.Vertex.Name);
    }

    [Fact]
    public async Task Commands_without_cache_start_their_cache_directories_anew()
    {
        var state = State.Scratch.Run(new RunOptions
        {
            Args = ["x"],
            Mounts = [RunMount.Cache("/c", "id"), RunMount.Cache("/d", "on-input", source: State.Image("alpine"))],
            Constraints = new OpConstraints { IgnoreCache = true },
        });
        var pruned = LlbGraph.Load(await state.MarshalAsync()).PrunedCacheIds;
        Assert.Equal([("id", false), ("on-input", true)], pruned.OrderBy(entry => entry.Key, StringComparer.Ordinal).Select(entry => (entry.Key, entry.Value)));
    }

    [Fact]
    public async Task Deep_and_wide_graphs_are_marshalled_and_loaded_without_recursion()
    {
        const int depth = 100_000;
        var state = State.Scratch;
        for (var i = 0; i < depth; i++)
            state = state.File(Files.Mkdir("/" + i, 0x1ed));
        var definition = await state.MarshalAsync(GoldenPrograms.Amd64);
        Assert.Equal(depth + 1, definition.Def.Count);
        var graph = LlbGraph.Load(definition);
        Assert.Equal(depth, graph.Vertices.Count);

        // The order of entries is free, but for the last one.
        var shuffled = new Definition();
        shuffled.Def.AddRange(definition.Def.SkipLast(1).Reverse());
        shuffled.Def.Add(definition.Def[^1]);
        Assert.Equal(graph.Result.Vertex.Digest, LlbGraph.Load(shuffled).Result.Vertex.Digest);
    }

    [Fact]
    public async Task Merges_of_merges_do_not_grow_names_without_bound()
    {
        var state = State.Image("alpine");
        for (var i = 0; i < 60; i++)
            state = State.Merge([state, state]);
        Assert.InRange(LlbGraph.Load(await state.MarshalAsync()).Result.Vertex.Name.Length, 1, 20_000);
    }

    [Fact]
    public void Negative_outputs_and_impossible_inputs_are_refused()
    {
        var scratch = new Op { File = new FileOp { Actions = { new global::BuildKit.Protocol.Pb.FileAction { Input = -1, SecondaryInput = -1, Mkdir = new FileActionMkDir { Path = "/a" } } } } };
        Assert.StartsWith("invalid input sha256:", Assert.Throws<LlbException>(() => LlbGraph.Load(Graph(scratch.ToByteArray(), -1))).Message, StringComparison.Ordinal);
        var diff = new Op { Diff = new DiffOp { Lower = new LowerDiffInput { Input = 3 }, Upper = new UpperDiffInput { Input = -1 } } };
        Assert.Equal("invalid diff op with input index 3, 0 provided", Assert.Throws<LlbException>(() => LlbGraph.Load(Graph(diff.ToByteArray(), 0))).Message);
    }

    [Fact]
    public void Text_that_is_not_utf8_is_refused()
    {
        byte[] op = [0x1a, 0x05, 0x0a, 0x03, (byte)'a', 0xff, (byte)'b'];
        Assert.Equal("string field contains invalid UTF-8", Assert.Throws<LlbException>(() => LlbGraph.Load(Graph(op, 0))).Message);
    }

    private static Definition Graph(byte[] op, long index)
    {
        var last = new Op { Inputs = { new Input { Digest = Digest.Sha256(op).ToString(), Index = index } } };
        return new Definition { Def = { ByteString.CopyFrom(op), last.ToByteString() } };
    }

    private static Definition Read(string file) => Definition.Parser.ParseFrom(File.ReadAllBytes(Golden.Path("llb", file.Split('/'))));
}
