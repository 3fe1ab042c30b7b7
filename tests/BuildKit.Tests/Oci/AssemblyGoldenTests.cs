using System.Text;
using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.Oci;

public sealed class AssemblyGoldenTests
{
    private static readonly Rfc3339Time Epoch = Rfc3339Time.FromUnixSeconds(1700000000);
    private static readonly Platform Amd64 = Platform.Parse("linux/amd64");

    private static byte[] File(params string[] parts) => System.IO.File.ReadAllBytes(Golden.Path("exporters", parts));

    [Fact]
    public void An_image_from_scratch_has_the_digests_of_the_reference()
    {
        var (json, _) = ImageConfigPatch.Check(default, Amd64);
        var final = ImageConfigPatch.Apply(json, [], []);
        Assert.Equal("sha256:471a1b8817eefb6569017c1a76f288e0d4e5c8476eb199485c469d0b033168bf", Digest.Sha256(final).ToString());
        var none = new Dictionary<string, string>();
        Assert.Equal("sha256:6cddc7c291e3d05059404a670e53a4e87166bd3f22ea50b9ae60f9d0c4423775", ManifestAssembly.Image(true, final, [], none).Manifest.Descriptor.Digest.ToString());
        Assert.Equal("sha256:3a58ad119f0dae830e39299dd9d94100e3a764665fba8810f9a873d3ac716aec", ManifestAssembly.Image(false, final, [], none).Manifest.Descriptor.Digest.ToString());
    }

    [Fact]
    public void An_overridden_config_gets_history_from_its_layers()
    {
        var expected = File("config-override", "config.json");
        var reference = ImageConfig.Parse(expected);
        var origins = reference.History.Select(entry => new LayerOrigin(Rfc3339Time.Parse("2026-01-01T00:00:00Z"), entry.CreatedBy)).ToList();
        var (json, config) = ImageConfigPatch.Check(Encoding.UTF8.GetBytes("""{ "os":"linux", "x":1, "architecture":"s390x" }"""), Amd64);
        var history = HistoryNormalizer.Normalize(config.History, 3, origins);
        var final = ImageConfigPatch.Apply(json, reference.DiffIds, history, Epoch);
        Assert.Equal(Encoding.UTF8.GetString(expected), Encoding.UTF8.GetString(final));
    }

    [Theory]
    [InlineData("null", "invalid null image config for export")]
    [InlineData("""{"architecture":"amd64"}""", "invalid image config for export: missing os")]
    [InlineData("""{"os":"linux"}""", "invalid image config for export: missing architecture")]
    public void An_unusable_config_is_refused(string json, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => ImageConfigPatch.Check(Encoding.UTF8.GetBytes(json), Amd64)).Message);

    [Fact]
    public void Later_times_are_clamped_but_the_history_of_the_base_is_kept()
    {
        var late = Rfc3339Time.Parse("2030-01-01T00:00:00Z");
        var early = Rfc3339Time.Parse("2000-01-01T00:00:00Z");
        var fromBase = new HistoryEntry { Created = late, CreatedBy = "base" };
        var json = ImageConfigPatch.Apply(
            Encoding.UTF8.GetBytes("""{"architecture":"amd64","os":"linux","created":"2031-01-01T00:00:00Z"}"""),
            [],
            [fromBase, new HistoryEntry { Created = early }, new HistoryEntry { Created = late }, new HistoryEntry()],
            Epoch,
            [fromBase, new HistoryEntry { Created = early, CreatedBy = "changed" }],
            "cache"u8.ToArray());
        Assert.Equal(
            """{"architecture":"amd64","created":"2023-11-14T22:13:20Z","history":[{"created":"2030-01-01T00:00:00Z","created_by":"base"},{"created":"2000-01-01T00:00:00Z"},{"created":"2023-11-14T22:13:20Z"},{"created":"2023-11-14T22:13:20Z"}],"moby.buildkit.cache.v0":"Y2FjaGU=","os":"linux","rootfs":{"type":"layers","diff_ids":null}}""",
            Encoding.UTF8.GetString(json));
    }

    [Fact]
    public void History_beyond_the_layers_becomes_empty_and_missing_times_are_filled()
    {
        Rfc3339Time Time(int year) => Rfc3339Time.Parse($"{year}-01-01T00:00:00Z");
        var history = HistoryNormalizer.Normalize(
            [
                new HistoryEntry { CreatedBy = "a", EmptyLayer = true },
                new HistoryEntry { CreatedBy = "b" },
                new HistoryEntry { CreatedBy = "c", EmptyLayer = true },
                new HistoryEntry { CreatedBy = "d" },
            ],
            1,
            [new LayerOrigin(Time(2020), null)]);
        Assert.Equal([true, false, true, true], history.Select(entry => entry.EmptyLayer));
        Assert.All(history, entry => Assert.Equal(Time(2020), entry.Created));
        var added = Assert.Single(HistoryNormalizer.Normalize([], 1, []));
        Assert.Equal(new HistoryEntry { CreatedBy = "created by buildkit", Comment = "buildkit.exporter.image.v0" }, added);
    }

    [Theory]
    [InlineData("provenance-oci-artifact", true)]
    [InlineData("provenance-min-oci", false)]
    [InlineData("provenance-max", false)]
    public void An_attested_image_has_the_documents_of_the_reference(string set, bool asArtifact)
    {
        var expected = ImageIndex.Parse(File(set, "index.json"));
        var image = expected.Manifests[0] with { Annotations = new Dictionary<string, string>() };
        var statement = File(set, "layer-1-0.json");
        var (manifest, config, layers) = ManifestAssembly.Attestation(image, [new AttestationStatement("https://slsa.dev/provenance/v0.2", statement)], asArtifact);
        Assert.Equal(Encoding.UTF8.GetString(File(set, "manifest-1.json")), Encoding.UTF8.GetString(manifest.Json));
        Assert.Equal(Encoding.UTF8.GetString(File(set, "config-1.json")), Encoding.UTF8.GetString(config.Json));
        Assert.Equal(statement, Assert.Single(layers).Json);
        var index = ManifestAssembly.Index(true, [expected.Manifests[0]], [manifest.Descriptor], expected.Annotations);
        Assert.Equal(Encoding.UTF8.GetString(File(set, "index.json")), Encoding.UTF8.GetString(index.Json));
    }

    [Fact]
    public void Internal_annotations_of_layers_go_and_docker_types_keep_none()
    {
        var layer = new Descriptor(MediaTypes.OciLayerZstd, Digest.Sha256("x"), 1)
        {
            Annotations = new Dictionary<string, string>
            {
                ["containerd.io/uncompressed"] = "x",
                ["buildkit/createdat"] = "x",
                ["containerd.io/distribution.source.a.test"] = "x",
                ["buildkit/rewritten-timestamp"] = "1",
            },
        };
        Assert.Equal(["buildkit/rewritten-timestamp"], ManifestAssembly.Layer(layer, oci: true).Annotations.Keys);
        var docker = ManifestAssembly.Layer(layer, oci: false);
        Assert.Empty(docker.Annotations);
        Assert.Equal("application/vnd.docker.image.rootfs.diff.tar.zstd", docker.MediaType);
    }

    [Theory]
    [InlineData("annotation.a.b", AnnotationTarget.Manifest, null, "a.b")]
    [InlineData("annotation-manifest[linux/arm64/v8].k", AnnotationTarget.Manifest, "linux/arm64", "k")]
    [InlineData("annotation-manifest-descriptor.k", AnnotationTarget.ManifestDescriptor, null, "k")]
    [InlineData("annotation-index.k", AnnotationTarget.Index, null, "k")]
    [InlineData("annotation-index-descriptor.k", AnnotationTarget.IndexDescriptor, null, "k")]
    public void Annotation_attributes_say_where_they_land(string attribute, AnnotationTarget target, string? platform, string key)
    {
        var parsed = AnnotationKey.TryParse(attribute);
        Assert.NotNull(parsed);
        Assert.Equal((target, platform, key), (parsed.Target, parsed.Platform?.Normalize().FormatAll(), parsed.Key));
    }

    [Fact]
    public void Other_attributes_are_left_alone_and_bad_annotations_refused()
    {
        Assert.Null(AnnotationKey.TryParse("annotations.k"));
        Assert.Null(AnnotationKey.TryParse("annotation.k k"));
        Assert.Equal("unrecognized annotation type foo", Assert.Throws<FormatException>(() => AnnotationKey.TryParse("annotation-foo.k")).Message);
        Assert.Equal("\"bad/x/y/z\": cannot parse platform specifier: invalid argument", Assert.Throws<FormatException>(() => AnnotationKey.TryParse("annotation[bad/x/y/z].k")).Message);
    }

    [Fact]
    public void Annotations_of_a_platform_lie_over_the_unspecific_ones()
    {
        var set = new AnnotationSet();
        var others = set.AddFrom(
        [
            new("annotation.a", "1"), new("annotation[linux/arm64].a", "2"), new("annotation.b", "3"), new("name", "x"), new("annotation-index[linux/s390x].i", "4"),
        ]);
        Assert.Equal(["name"], others.Keys);
        Assert.Equal([("a", "2"), ("b", "3")], set.For(AnnotationTarget.Manifest, Platform.Parse("linux/arm64/v8")).Select(pair => (pair.Key, pair.Value)));
        Assert.Equal([("a", "1"), ("b", "3")], set.For(AnnotationTarget.Manifest, Amd64).Select(pair => (pair.Key, pair.Value)));
        Assert.Equal([("i", "4")], set.For(AnnotationTarget.Index).Select(pair => (pair.Key, pair.Value)));
        Assert.True(set.HasIndexAnnotations && set.RequireOci);
        Assert.Equal(["linux/arm64", "linux/s390x"], set.PlatformIds);
    }
}
