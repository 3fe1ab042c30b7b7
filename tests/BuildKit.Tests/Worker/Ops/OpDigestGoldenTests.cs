using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Tests.Support;
using BuildKit.Worker.Ops.Digests;
using Google.Protobuf;
using Platform = BuildKit.Oci.Platform;

namespace BuildKit.Tests.Worker.Ops;

public sealed class OpDigestGoldenTests
{
    private static readonly Platform s_amd64 = new("linux", "amd64");

    public static TheoryData<string, int> Steps()
    {
        var data = new TheoryData<string, int>();
        foreach (var test in Golden.Index("cachekeys", "cases"))
        {
            for (var i = 0; i < test.GetProperty("steps").GetArrayLength(); i++)
                data.Add(test.GetProperty("name").GetString()!, i);
        }

        return data;
    }

    [GoldenTheory]
    [MemberData(nameof(Steps))]
    public void Operations_have_the_known_keys(string name, int number)
    {
        var step = Index()["cases"]!.AsArray().Single(test => test!["name"]!.GetValue<string>() == name)!["steps"]![number]!;
        var op = Parse(step);
        var key = op.OpCase switch
        {
            Op.OpOneofCase.Exec => ExecDigest.Compute(op.Exec, op.Platform?.ToOci() ?? s_amd64, op.Inputs.Count),
            Op.OpOneofCase.File => FileDigest.Compute(op.File, op.Inputs.Count),
            Op.OpOneofCase.Merge => GraphDigest.Merge(op.Merge),
            Op.OpOneofCase.Diff => GraphDigest.Diff(op.Diff),
            _ => GraphDigest.Build(op.Build, op.Inputs.Count),
        };

        Assert.Equal(step["hashed_json"]!.GetValue<string>(), Encoding.UTF8.GetString(key.Hashed.Span));
        Assert.Equal(step["op_digest"]!.GetValue<string>(), key.Digest.ToString());
        var inputs = step["inputs"]!.AsArray();
        Assert.Equal(inputs.Count, key.Inputs.Count);
        foreach (var (expected, actual) in inputs.Zip(key.Inputs))
        {
            Assert.Equal(expected!["selector"]!.GetValue<string>(), actual.Selector.ToString());
            var contents = expected["content_selectors"]?.AsArray();
            Assert.Equal(contents is null, actual.Content is null);
            if (contents is null)
                continue;

            // The list is written before contained paths are dropped, so it can only be longer.
            var written = contents.Select(Selector).ToArray();
            Assert.All(actual.Content!, selector => Assert.Contains(Text(selector), written));
            if (expected["selector_digests"] is JsonArray digests)
                Assert.Equal(digests.Count, actual.Content!.Count);
        }
    }

    [Fact]
    public void Image_sources_have_the_known_keys()
    {
        var manifest = Digest.Parse("sha256:801a7fe8311429eba4fb997b0cefaa1792363bf984143093fb2815eab4941c67");
        var key = SourceDigest.ImageManifestKey(manifest, s_amd64);
        var (source, digest) = Source("oci-layout, cache map 0 (manifest key)");
        Assert.Equal(source, key);
        Assert.Equal(digest, SourceDigest.FromKey(key).ToString());

        var entry = Entry("oci-layout, cache map 1 (chain id)");
        var config = new JsonObject { ["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = entry["diff_ids"]!.DeepClone() } };
        var chain = SourceDigest.ImageConfigKey(Encoding.UTF8.GetBytes(config.ToJsonString()), key);
        Assert.Equal(entry["source_key"]!.GetValue<string>(), chain);
        Assert.Equal(entry["op_digest"]!.GetValue<string>(), SourceDigest.FromKey(chain).ToString());
        Assert.Equal(entry["diff_ids"]![0]!.GetValue<string>(), SourceDigest.ImageConfigKey(Encoding.UTF8.GetBytes(config.ToJsonString()), key, layerLimit: 1));
    }

    [Fact]
    public void A_configuration_without_layers_keeps_the_first_key_and_a_broken_one_is_its_bytes()
    {
        Assert.Equal("first", SourceDigest.ImageConfigKey("{}"u8, "first"));
        Assert.Equal(Digest.Sha256("not json").ToString(), SourceDigest.ImageConfigKey("not json"u8, "first"));
        Assert.Throws<LlbException>(() => SourceDigest.ImageConfigKey("{}"u8, "first", layerLimit: 1));
    }

    [Fact]
    public void Http_sources_have_the_known_key()
    {
        var (source, digest) = Source("http");
        var key = SourceDigest.HttpKey("file.txt", 0, 0, 0, Digest.Parse("sha256:8118d09c37ac02a90d47e60f2c1eaf7c9ed8cea7b9b40a23ab50db95d55b4b93"), "Fri, 20 Nov 2026 23:58:39 GMT");
        Assert.Equal(source, key);
        Assert.Equal(digest, SourceDigest.FromKey(key).ToString());
    }

    [Theory]
    [InlineData("git, ref main (branch)", false, "refs/heads/main", "")]
    [InlineData("git, tag v1, keep git dir", true, "refs/tags/v1", "")]
    [InlineData("git, branch main, subdir sub", false, "refs/heads/main", "sub")]
    public void Git_sources_have_the_known_keys(string name, bool keepGitDir, string reference, string subdirectory)
    {
        var (source, digest) = Source(name);
        var key = SourceDigest.GitKey(source[..40], keepGitDir, reference, subdirectory);
        Assert.Equal(source, key);
        Assert.Equal(digest, SourceDigest.FromKey(key).ToString());
    }

    [Fact]
    public void Local_sources_have_keys_of_one_session_only()
    {
        Assert.Equal(("x-context", "id"), SourceDigest.LocalSession("context", "x:id"));
        var key = SourceDigest.LocalKey("context", "s", ["a&b"], null, []);
        Assert.Equal("session:context:" + Digest.Sha256("""{"SessionID":"s","IncludePatterns":["a\u0026b"],"ExcludePatterns":null,"FollowPaths":[]}"""), key);
        Assert.StartsWith("random:", SourceDigest.FromKey(key).ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_command_keeps_its_key_when_only_proxies_addresses_selectors_or_cache_names_change()
    {
        var first = Command();
        var second = Command();
        second.Meta.ProxyEnv = new ProxyEnv { HttpProxy = "http://p" };
        second.Meta.ExtraHosts[0].IP = "10.0.0.2";
        second.Mounts[1].CacheOpt = new CacheOpt { ID = "other", Sharing = CacheSharingOpt.Locked };
        second.Mounts[2].Selector = "/else";
        Assert.Equal(ExecDigest.Compute(first, s_amd64, 2).Digest, ExecDigest.Compute(second, s_amd64, 2).Digest);
        Assert.NotEqual(ExecDigest.Compute(first, s_amd64, 2).Inputs[1].Selector, ExecDigest.Compute(second, s_amd64, 2).Inputs[1].Selector);
        Assert.NotEqual(ExecDigest.Compute(first, s_amd64, 2).Digest, ExecDigest.Compute(first, new Platform("linux", "arm", "v7"), 2).Digest);
    }

    [Fact]
    public void The_cache_name_a_dockerfile_gives_by_default_stays_in_the_key()
    {
        var command = Command();
        command.Mounts[1].CacheOpt.ID = "ns//c";
        Assert.Contains("\"cacheOpt\":{\"ID\":\"ns//c\"}", Encoding.UTF8.GetString(ExecDigest.Compute(command, s_amd64, 2).Hashed.Span), StringComparison.Ordinal);
    }

    [Fact]
    public void A_mount_of_an_input_that_does_not_exist_is_refused() =>
        Assert.StartsWith("invalid mountinput", Assert.Throws<LlbException>(() => ExecDigest.Compute(Command(), s_amd64, 1)).Message, StringComparison.Ordinal);

    [Fact]
    public void Content_caching_where_changes_are_kept_is_refused()
    {
        var command = Command();
        command.Mounts[2].ContentCache = MountContentCache.On;
        command.Mounts[2].Output = 1;
        Assert.StartsWith("invalid mount cache content", Assert.Throws<LlbException>(() => ExecDigest.Compute(command, s_amd64, 2)).Message, StringComparison.Ordinal);
    }

    private static ExecOp Command() => new()
    {
        Meta = new Meta { Args = { "x" }, ExtraHosts = { new HostIP { Host = "h", IP = "10.0.0.1" } } },
        Mounts =
        {
            new Mount { Dest = "/" },
            new Mount { Input = -1, Dest = "/c", Output = -1, MountType = MountType.Cache, CacheOpt = new CacheOpt { ID = "named" } },
            new Mount { Input = 1, Dest = "/m", Selector = "/sub", Output = -1 },
        },
    };

    private static JsonNode Index() => JsonNode.Parse(File.ReadAllBytes(Golden.Path("cachekeys", "index.json")))!;

    private static JsonNode Entry(string source) => Index()["cases"]!.AsArray()
        .SelectMany(test => test!["sources"]?.AsArray() ?? [])
        .Single(entry => entry!["source"]!.GetValue<string>() == source)!;

    private static (string Key, string Digest) Source(string source) =>
        (Entry(source)["source_key"]!.GetValue<string>(), Entry(source)["op_digest"]!.GetValue<string>());

    private static string Text(ContentSelector selector) =>
        $"{(selector.Path.Length == 0 ? "/" : selector.Path)} {selector.Wildcard} {string.Join(',', selector.IncludePatterns)} {string.Join(',', selector.ExcludePatterns)}";

    private static string Selector(JsonNode? node) => node is JsonArray parts
        ? $"{parts[0]} {parts[2]!.GetValue<bool>()} {string.Join(',', parts[3]!.AsArray())} {string.Join(',', parts[4]!.AsArray())}"
        : $"{node} False  ";

    /// <summary>The operation of a step: its JSON differs from protobuf's own in where oneofs are, and lacks
    /// symbolic links.</summary>
    private static Op Parse(JsonNode step)
    {
        var op = step["op"]!.DeepClone().AsObject();
        foreach (var (kind, body) in op["Op"]!.AsObject().ToArray())
            op[kind] = body!.DeepClone();
        op.Remove("Op");
        var number = 0;
        foreach (var action in op["file"]?["actions"]?.AsArray() ?? [])
        {
            var members = action!["Action"]!.AsObject();
            foreach (var (kind, body) in members.ToArray())
            {
                Flatten(body!["owner"]);
                action[kind] = body.DeepClone();
            }

            if (members.Count == 0)
                action["symlink"] = JsonNode.Parse(step["decoded_actions"]![number]!.GetValue<string>());
            action.AsObject().Remove("Action");
            number++;
        }

        return JsonParser.Default.Parse<Op>(op.ToJsonString(new JsonSerializerOptions { WriteIndented = false }));
    }

    private static void Flatten(JsonNode? owner)
    {
        foreach (var (who, user) in owner?.AsObject().ToArray() ?? [])
        {
            var inner = user!["User"]!;
            owner![who] = inner["byName"] is { } name
                ? new JsonObject { ["byName"] = name.DeepClone() }
                : new JsonObject { ["byID"] = inner["byId"]?.DeepClone() ?? 0 };
        }
    }
}
