using System.Text;
using BuildKit.Oci;
using BuildKit.Worker.Exporters;

namespace BuildKit.Tests.Worker.Exporters;

public sealed class ImageExporterTests
{
    private static readonly byte[] TwoPlatforms =
        """{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]}"""u8.ToArray();

    [Theory]
    [InlineData("image-docker", "false", ExporterFixture.Epoch)]
    [InlineData("docker-tar", "false", ExporterFixture.Epoch)]
    [InlineData("oci-rewrite", "true", ExporterFixture.Epoch)]
    [InlineData("config-override", "true", ExporterFixture.Epoch)]
    [InlineData("zstd", "", ExporterFixture.Epoch)]
    [InlineData("uncompressed", "", ExporterFixture.Epoch)]
    [InlineData("no-epoch", "true", "")]
    [InlineData("inline-cache", "true", ExporterFixture.Epoch)]
    public async Task A_single_image_has_the_bytes_of_the_reference(string set, string oci, string epoch)
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var expected = ExporterFixture.GoldenFile(set, "manifest.json");
        if (oci.Length == 0)
            oci = MediaTypes.OciManifest == Manifest.Parse(expected).MediaType ? "true" : "false";
        var golden = ExporterFixture.GoldenJson(set, "config.json");
        var request = fixture.Request(new ExportSource { Ref = fixture.GoldenRef(set), Metadata = Config(set) });
        if (golden.TryGetProperty("moby.buildkit.cache.v0", out var cache))
            request = request with { InlineCache = (_, _, _, _) => Task.FromResult<byte[]?>(cache.GetBytesFromBase64()) };

        var response = await fixture.Create("image", ("oci-mediatypes", oci), ("source-date-epoch", epoch)).ExportAsync(request, default);

        var manifest = Digest.Sha256(expected);
        Assert.Equal(Encoding.UTF8.GetString(ExporterFixture.GoldenFile(set, "config.json")), Encoding.UTF8.GetString(await fixture.ReadAsync(Digest.Parse(response["containerimage.config.digest"]))));
        Assert.Equal(Encoding.UTF8.GetString(expected), Encoding.UTF8.GetString(await fixture.ReadAsync(Digest.Parse(response["containerimage.digest"]))));
        Assert.Equal(manifest.ToString(), response["containerimage.digest"]);
        Assert.False(response.ContainsKey("image.name"));
        Assert.Equal(
            ["exporting layers", .. request.InlineCache is null ? Array.Empty<string>() : ["preparing layers for inline cache"],
                $"exporting manifest {manifest}", $"exporting config {response["containerimage.config.digest"]}"],
            fixture.Progress.Lines);
        Assert.Equal(fixture.Progress.Lines, fixture.Progress.Completed);
    }

    [Fact]
    public async Task The_answer_is_that_of_the_reference()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var request = fixture.Request(new ExportSource { Ref = fixture.GoldenRef("image-docker"), Metadata = Config("image-docker") });
        var response = await fixture.Create("image", ("name", "127.0.0.1:5807/demo/app:v1"), ("source-date-epoch", ExporterFixture.Epoch)).ExportAsync(request, default);
        var golden = ExporterFixture.GoldenJson("image-docker", "metadata-file.json");
        Assert.Equal(golden.EnumerateObject().Select(entry => entry.Name), response.Keys.Order(StringComparer.Ordinal));
        foreach (var entry in golden.EnumerateObject())
        {
            var expected = entry.Value.ValueKind == System.Text.Json.JsonValueKind.String
                ? entry.Value.GetString()
                : Convert.ToBase64String(CanonicalJsonWriter.Compact(Encoding.UTF8.GetBytes(entry.Value.GetRawText())));
            Assert.Equal(expected, response[entry.Name]);
        }
    }

    [Fact]
    public async Task An_empty_result_is_the_empty_image_of_the_reference()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var response = await fixture.Create("image").ExportAsync(fixture.Request(new ExportSource()), default);
        Assert.Equal("sha256:3a58ad119f0dae830e39299dd9d94100e3a764665fba8810f9a873d3ac716aec", response["containerimage.digest"]);
        Assert.Equal("sha256:471a1b8817eefb6569017c1a76f288e0d4e5c8476eb199485c469d0b033168bf", response["containerimage.config.digest"]);
    }

    [Theory]
    [InlineData("multi-docker")]
    [InlineData(
        "multi-annotated", "annotation.top", "one", "annotation-index.idx", "two", "annotation-manifest[linux/arm64].arm", "three",
        "annotation-manifest-descriptor[linux/arm64].armd", "four", "annotation-index-descriptor.idxd", "five")]
    public async Task An_index_has_the_bytes_of_the_reference(string set, params string[] attributes)
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var request = fixture.Request(Multi(fixture, set));
        var all = attributes.Chunk(2).Select(pair => (pair[0], pair[1])).Append(("source-date-epoch", ExporterFixture.Epoch)).ToArray();
        var response = await fixture.Create("image", all).ExportAsync(request, default);
        var index = await fixture.ReadAsync(Digest.Parse(response["containerimage.digest"]));
        Assert.Equal(Encoding.UTF8.GetString(ExporterFixture.GoldenFile(set, "index.json")), Encoding.UTF8.GetString(index));
        Assert.False(response.ContainsKey("containerimage.config.digest"));
        Assert.EndsWith(Digest.Sha256(index).ToString(), fixture.Progress.Lines[^1], StringComparison.Ordinal);
        var root = Descriptor.Parse(Convert.FromBase64String(response["containerimage.descriptor"]));
        Assert.Equal(attributes.Length > 0 ? "five" : null, root.Annotations.GetValueOrDefault("idxd"));
        Assert.Null(root.Platform);
    }

    [Theory]
    [InlineData("provenance-min-oci", "example.com/p:v1", "false")]
    [InlineData("provenance-oci-artifact", "", "true")]
    public async Task Attestations_are_those_of_the_reference(string set, string name, string asArtifact)
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var statement = ExporterFixture.GoldenJson(set, "layer-1-0.json");
        if (name.Length == 0 && statement.GetProperty("subject").GetArrayLength() > 0)
        {
            // pkg:docker/NAME@TAG?platform=…
            var url = statement.GetProperty("subject")[0].GetProperty("name").GetString()!;
            name = Uri.UnescapeDataString(url["pkg:docker/".Length..url.IndexOf('?', StringComparison.Ordinal)]).Replace('@', ':');
        }
        var source = new ExportSource
        {
            Ref = fixture.GoldenRef(set, "-0"),
            Metadata = Config(set, "-0"),
            Attestations = new Dictionary<string, IReadOnlyList<ExportAttestation>>
            {
                ["linux/amd64"] =
                [
                    new ExportAttestation
                    {
                        Path = "provenance.json",
                        PredicateType = statement.GetProperty("predicateType").GetString()!,
                        Content = _ => Task.FromResult(Encoding.UTF8.GetBytes(statement.GetProperty("predicate").GetRawText())),
                    },
                ],
            },
        };
        var exporter = fixture.Create("image", ("name", name), ("oci-artifact", asArtifact), ("source-date-epoch", ExporterFixture.Epoch));
        var response = await exporter.ExportAsync(fixture.Request(source), default);
        var index = await fixture.ReadAsync(Digest.Parse(response["containerimage.digest"]));
        Assert.Equal(Encoding.UTF8.GetString(ExporterFixture.GoldenFile(set, "index.json")), Encoding.UTF8.GetString(index));
        Assert.Equal(ExporterFixture.GoldenFile(set, "layer-1-0.json"), await fixture.ReadAsync(Digest.Sha256(ExporterFixture.GoldenFile(set, "layer-1-0.json"))));
        Assert.Contains(fixture.Progress.Lines, line => line.StartsWith("exporting attestation manifest sha256:", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Inline_only_attestations_make_no_index_where_they_are_not_wanted()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var attestation = new ExportAttestation
        {
            Path = "provenance.json",
            PredicateType = "t",
            Content = _ => Task.FromResult("{}"u8.ToArray()),
            Metadata = new Dictionary<string, byte[]> { ["inline-only"] = "true"u8.ToArray() },
        };
        var source = new ExportSource { Attestations = new Dictionary<string, IReadOnlyList<ExportAttestation>> { ["linux/amd64"] = [attestation] } };
        var plain = await fixture.Create("image", ("attestation-inline", "false")).ExportAsync(fixture.Request(source), default);
        var index = await fixture.Create("image").ExportAsync(fixture.Request(source), default);
        Assert.True(plain.ContainsKey("containerimage.config.digest"));
        Assert.False(index.ContainsKey("containerimage.config.digest"));
    }

    [Theory]
    [InlineData("push", "maybe", "non-bool value specified for push: strconv.ParseBool: parsing \"maybe\": invalid syntax")]
    [InlineData("oci-artifact", "", "non-bool value specified for oci-artifact: strconv.ParseBool: parsing \"\": invalid syntax")]
    [InlineData("source-date-epoch", "abc", "invalid source-date-epoch: strconv.ParseInt: parsing \"abc\": invalid syntax: strconv.ParseInt: parsing \"abc\": invalid syntax")]
    [InlineData("compression", "lzma", "unsupported compression type lzma")]
    [InlineData("force-compression", "x", "non-bool value x specified for force-compression: strconv.ParseBool: parsing \"x\": invalid syntax")]
    [InlineData("compression-level", "x", "non-integer value x specified for compression-level: strconv.ParseInt: parsing \"x\": invalid syntax")]
    [InlineData("annotation-foo.k", "v", "unrecognized annotation type foo")]
    public async Task A_malformed_attribute_is_refused_before_the_build(string key, string value, string message)
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        Assert.Equal(message, Assert.Throws<FormatException>(() => fixture.Create("image", (key, value))).Message);
    }

    [Theory]
    [InlineData("annotation-index.k", "v", "index annotations not supported for single platform export")]
    [InlineData("refs.platforms", """{"Platforms":[]}""", "invalid empty platforms index for exporter")]
    [InlineData("containerimage.config", """{"os":"linux"}""", "invalid image config: os and architecture must be specified together")]
    [InlineData("containerimage.config", "null", "invalid null image config for export")]
    public async Task What_cannot_be_exported_is_refused(string key, string value, string message)
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var exporter = fixture.Create("image", (key, value));
        var error = await Assert.ThrowsAnyAsync<Exception>(() => exporter.ExportAsync(fixture.Request(new ExportSource()), default));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_tagged_name_cannot_be_pushed_by_digest()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var exporter = fixture.Create("image", ("name", "127.0.0.1:1/demo/dig:v1"), ("push", "true"), ("push-by-digest", ""));
        var error = await Assert.ThrowsAnyAsync<Exception>(() => exporter.ExportAsync(fixture.Request(new ExportSource()), default));
        Assert.Equal("failed to push 127.0.0.1:1/demo/dig:v1: can't push tagged ref 127.0.0.1:1/demo/dig:v1 by digest", error.Message);
    }

    [Fact]
    public async Task A_push_of_a_malformed_name_says_which()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var error = await Assert.ThrowsAnyAsync<Exception>(() =>
            fixture.Create("image", ("name", "FOO"), ("push", "")).ExportAsync(fixture.Request(new ExportSource()), default));
        Assert.Equal("failed to push FOO: invalid reference format: repository name (library/FOO) must be lowercase", error.Message);
    }

    [Fact]
    public async Task Names_come_from_the_frontend_or_the_digest_where_asked_for()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var proposed = new ExportSource { Metadata = new Dictionary<string, byte[]> { ["image.name"] = "a/b:c"u8.ToArray() } };
        var fromFrontend = await fixture.Create("image", ("name", "*")).ExportAsync(fixture.Request(proposed), default);
        var dangling = await fixture.Create("image", ("dangling-name-prefix", "none")).ExportAsync(fixture.Request(new ExportSource()), default);
        Assert.Equal("a/b:c", fromFrontend["image.name"]);
        Assert.Equal($"none@{dangling["containerimage.digest"]}", dangling["image.name"]);
    }

    private static Dictionary<string, byte[]> Config(string set, string suffix = "") =>
        new() { ["containerimage.config"] = ExporterFixture.GoldenInput(set, suffix) };

    private static ExportSource Multi(ExporterFixture fixture, string set) => new()
    {
        IsKeyed = true,
        Refs = new Dictionary<string, BuildKit.Storage.Refs.IImmutableRef?>
        {
            ["linux/amd64"] = fixture.GoldenRef(set, "-0"),
            ["linux/arm64"] = fixture.GoldenRef(set, "-1"),
        },
        Metadata = new Dictionary<string, byte[]>
        {
            ["refs.platforms"] = TwoPlatforms,
            ["containerimage.config/linux/amd64"] = ExporterFixture.GoldenInput(set, "-0"),
            ["containerimage.config/linux/arm64"] = ExporterFixture.GoldenInput(set, "-1"),
        },
    };
}
