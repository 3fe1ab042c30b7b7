using System.Text;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.RemoteCache;

public sealed class CacheConfigGoldenTests
{
    public static TheoryData<string> Configs()
    {
        var data = new TheoryData<string>();
        foreach (var set in new[] { "cache", "cachekeys" })
        {
            if (!Directory.Exists(Golden.Path(set)))
                continue;
            foreach (var path in Directory.EnumerateFiles(Golden.Path(set), "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            {
                if (set == "cachekeys" ? Path.GetFileName(path).StartsWith("cacheconfig", StringComparison.Ordinal) : IsConfig(path))
                    data.Add(Path.GetRelativePath(Golden.Root, path));
            }
        }
        return data;
    }

    [Fact]
    public void What_belongs_to_an_eStargz_layer_is_written_only_for_such_a_layer()
    {
        var plain = Encoding.UTF8.GetBytes("""{"layers":[{"blob":"sha256:1","parent":-1,"annotations":{"mediaType":"m","diffID":"sha256:2","size":3,"createdAt":"0001-01-01T00:00:00Z"}}]}""");
        var stargz = Encoding.UTF8.GetBytes("""{"layers":[{"blob":"sha256:1","parent":-1,"annotations":{"mediaType":"m","diffID":"sha256:2","size":3,"createdAt":"0001-01-01T00:00:00Z","containerd.io/snapshot/stargz/toc.digest":"sha256:4","io.containers.estargz.uncompressed-size":"5"}}]}""");
        Assert.Equal(plain, CacheConfig.Parse(plain).ToJson());
        Assert.Equal(stargz, CacheConfig.Parse(stargz).ToJson());
        Assert.Equal(("sha256:4", "5"), (CacheConfig.Parse(stargz).Layers[0].Annotations!.TocDigest, CacheConfig.Parse(stargz).Layers[0].Annotations!.UncompressedSize));
    }

    [GoldenTheory]
    [MemberData(nameof(Configs))]
    public void A_config_is_written_as_it_was_read(string path)
    {
        var json = Read(path);
        Assert.Equal(Encoding.UTF8.GetString(json), Encoding.UTF8.GetString(CacheConfig.Parse(json).ToJson()));
    }

    [GoldenTheory]
    [MemberData(nameof(Configs))]
    public async Task A_parsed_graph_is_written_the_same_whatever_the_order_it_came_in(string path)
    {
        var config = CacheConfig.Parse(Read(path));
        var written = await MarshalAsync(config);
        Assert.Equal(Lines(config), Lines(written));

        var again = await MarshalAsync(written);
        Assert.Equal(written.ToJson(), again.ToJson());
        foreach (var seed in new[] { 1, 2, 3 })
            Assert.Equal(Encoding.UTF8.GetString(written.ToJson()), Encoding.UTF8.GetString((await MarshalAsync(Shuffle(written, new Random(seed)))).ToJson()));

        var hasTwins = config.Layers.GroupBy(l => l.Blob).Any(g => g.Count() > 1) || config.Records.GroupBy(r => r.Digest).Any(g => g.Count() > 1);
        if (!hasTwins)
            Assert.Equal(Encoding.UTF8.GetString(config.ToJson()), Encoding.UTF8.GetString(written.ToJson()));
    }

    public static TheoryData<string> InlineRecords() => Directory.Exists(Golden.Path("cache"))
        ? [.. Directory.EnumerateFiles(Golden.Path("cache"), "decoded-*.inline-cache.json", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(Golden.Root, path)).Order(StringComparer.Ordinal)]
        : [];

    [GoldenTheory]
    [MemberData(nameof(InlineRecords))]
    public void Inline_records_are_written_as_they_were_read(string path)
    {
        var json = File.ReadAllText(Path.Combine(Golden.Root, path)).TrimEnd();
        Assert.Equal(json, Encoding.UTF8.GetString(CacheConfig.RecordsToJson(CacheConfig.ParseRecords(Encoding.UTF8.GetBytes(json)))));
    }

    public static TheoryData<string> KeyCases() => Golden.Index("cachekeys", "cases").Names();

    [GoldenTheory]
    [MemberData(nameof(KeyCases))]
    public void Record_digests_of_every_step_follow_from_op_digest_and_output(string name)
    {
        foreach (var step in KeyCase(name).GetProperty("steps").EnumerateArray())
        {
            if (!step.TryGetProperty("record_digest", out var record) || !step.TryGetProperty("op_digest", out var op))
                continue;
            Assert.Equal(record.GetString(), CacheKey.RecordDigest(Digest.Parse(op.GetString()!), step.GetProperty("output").GetInt32()).ToString());
            foreach (var input in step.GetProperty("inputs").EnumerateArray())
            {
                if (input.ValueKind == JsonValueKind.Object && input.TryGetProperty("content_digest", out var content) && content.ValueKind == JsonValueKind.String)
                    Assert.Equal(input.GetProperty("content_record_digest").GetString(), CacheKey.RecordDigest(Digest.Parse(content.GetString()!), -1).ToString());
            }
        }
    }

    [GoldenTheory]
    [MemberData(nameof(KeyCases))]
    public void Imported_keys_are_found_step_by_step_as_the_solver_asks(string name)
    {
        var entry = KeyCase(name);
        if (!entry.TryGetProperty("cacheconfigs", out var configs) || !configs.TryGetProperty("v0.20.0", out var file))
            return; // older versions hash otherwise
        var config = CacheConfig.Parse(File.ReadAllBytes(Golden.Path("cachekeys", file.GetString()!)));
        var keys = new BuildKit.RemoteCache.Import.ParsedCache(CacheParser.Parse(config, Blobs(config)));
        foreach (var step in entry.GetProperty("steps").EnumerateArray())
        {
            if (!step.TryGetProperty("op_digest", out var op) || !step.TryGetProperty("record_digest", out _))
                continue;
            var inputs = step.GetProperty("inputs").EnumerateArray().ToList();
            for (var i = 0; i < inputs.Count; i++)
            {
                if (inputs[i].ValueKind != JsonValueKind.Object || !inputs[i].TryGetProperty("content_record_digest", out var content) || content.ValueKind != JsonValueKind.String)
                    continue;
                if (keys.Exists(content.GetString()!))
                    Assert.NotEmpty(keys.GetLinks(content.GetString()!, new CacheLink(i, step.GetProperty("output").GetInt32(), Digest.Parse(op.GetString()!), default)));
            }
        }
    }

    private static JsonElement KeyCase(string name) => Golden.Index("cachekeys", "cases").Single(c => c.GetProperty("name").GetString() == name);

    [Theory]
    [InlineData("""{"records":[{"digest":"sha256:a","inputs":[[{"link":1}]]},{"digest":"sha256:b","inputs":[[{"link":0}]]}]}""", "invalid looping record")]
    [InlineData("""{"records":[{"digest":"sha256:a","inputs":[[{"link":7}]]}]}""", "invalid record ID: 7")]
    [InlineData("""{"layers":[{"blob":"sha256:x","parent":-1}],"records":[{"digest":"sha256:a","layers":[{"layer":3,"createdAt":"0001-01-01T00:00:00Z"}]}]}""", "invalid layer index 3")]
    [InlineData("""{"layers":[{"blob":"sha256:x"}],"records":[{"digest":"sha256:a","layers":[{"layer":0,"createdAt":"0001-01-01T00:00:00Z"}]}]}""", "invalid looping layer")]
    public void A_broken_config_is_refused(string json, string error)
    {
        var config = CacheConfig.Parse(Encoding.UTF8.GetBytes(json));
        Assert.Equal(error, Assert.Throws<FormatException>(() => CacheParser.Parse(config, Blobs(config))).Message);
    }

    [Fact]
    public void A_config_deeper_than_a_stack_is_read()
    {
        var records = Enumerable.Range(0, 100_000).Select(i => new CacheConfigRecord(Digest.Sha256(i.ToString(System.Globalization.CultureInfo.InvariantCulture)))
        {
            Inputs = i == 99_999 ? [] : [[new CacheConfigLink("", i + 1)]],
        });
        var nodes = CacheParser.Parse(new CacheConfig([], [.. records]), new Dictionary<Digest, LayerBlob>());
        Assert.Equal(100_000, CacheGraph.Normalize(nodes).Count);
    }

    [Fact]
    public async Task Records_without_a_way_to_them_vanish_with_what_needs_them()
    {
        var target = new BuildKit.RemoteCache.Export.CacheExportTarget();
        var local = target.Add(CacheKey.RecordDigest(Digest.Unchecked("random:" + new string('0', 64)), 0));
        var copy = target.Add(Digest.Sha256("copy"));
        copy.LinkFrom(local, 0, default);
        var run = target.Add(Digest.Sha256("run"));
        run.LinkFrom(copy, 0, default);
        var root = target.Add(Digest.Sha256("root"));
        var other = target.Add(Digest.Sha256("other"));
        other.LinkFrom(root, 0, default);
        other.LinkFrom(copy, 0, default);
        var written = await CacheMarshaller.MarshalAsync(target.Nodes, default);
        Assert.Equal(new[] { Digest.Sha256("root"), Digest.Sha256("other") }.Order(), written.Config.Records.Select(r => r.Digest));
    }

    internal static Dictionary<Digest, LayerBlob> Blobs(CacheConfig config) =>
        config.Layers.Select(l => l.Blob).Distinct().ToDictionary(d => d, d => new LayerBlob(new Descriptor(MediaTypes.OciLayerGzip, d, 1), new Everything()));

    private static async Task<CacheConfig> MarshalAsync(CacheConfig config) =>
        (await CacheMarshaller.MarshalAsync(CacheParser.Parse(config, Blobs(config)), default)).Config;

    private static bool IsConfig(string path)
    {
        if (!path.Contains("/blobs", StringComparison.Ordinal))
            return false;
        using var stream = File.OpenRead(path);
        Span<byte> head = stackalloc byte[20];
        var length = stream.ReadAtLeast(head, 20, throwOnEndOfStream: false);
        return head[..length].StartsWith("{\"layers\":[{\"blob\""u8);
    }

    /// <summary>A config's bytes; those of the cachekeys set are laid out for people.</summary>
    private static byte[] Read(string path)
    {
        var bytes = File.ReadAllBytes(Path.Combine(Golden.Root, path));
        return path.StartsWith("cachekeys", StringComparison.Ordinal) ? CanonicalJsonWriter.Compact(bytes) : bytes;
    }

    /// <summary>What a config says, independent of all order.</summary>
    private static List<string> Lines(CacheConfig config)
    {
        string Chain(int i) => config.Layers[i].Parent < 0 ? config.Layers[i].Blob.ToString() : Chain(config.Layers[i].Parent) + ">" + config.Layers[i].Blob;
        string Node(int i)
        {
            var r = config.Records[i];
            var inputs = r.Inputs.Select(links => string.Join('|', links.Select(l => l.Selector + "/" + Node(l.Link)).Order(StringComparer.Ordinal)));
            return r.Digest + "(" + string.Join(';', inputs) + ")";
        }

        return config.Records.Select((r, i) => Node(i) + " = " + string.Join(' ', r.Results.Select(x => Chain(x.Layer) + "@" + x.CreatedAt))).Order(StringComparer.Ordinal).ToList();
    }

    private static CacheConfig Shuffle(CacheConfig config, Random random)
    {
        var layerOrder = Enumerable.Range(0, config.Layers.Count).ToArray();
        var recordOrder = Enumerable.Range(0, config.Records.Count).ToArray();
        random.Shuffle(layerOrder);
        random.Shuffle(recordOrder);
        var layerAt = layerOrder.Select((old, now) => (old, now)).ToDictionary(p => p.old, p => p.now);
        var recordAt = recordOrder.Select((old, now) => (old, now)).ToDictionary(p => p.old, p => p.now);
        return new CacheConfig(
            layerOrder.Select(i => config.Layers[i] with { Parent = config.Layers[i].Parent < 0 ? -1 : layerAt[config.Layers[i].Parent] }).ToList(),
            recordOrder.Select(i => config.Records[i] with
            {
                Results = config.Records[i].Results.Select(r => r with { Layer = layerAt[r.Layer] }).ToList(),
                Inputs = config.Records[i].Inputs.Select(links => (IReadOnlyList<CacheConfigLink>)links.Select(l => l with { Link = recordAt[l.Link] }).ToList()).ToList(),
            }).ToList());
    }

    internal sealed class Everything : IBlobProvider
    {
        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
