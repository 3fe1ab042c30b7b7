using System.Text;
using BuildKit.Oci;

namespace BuildKit.Tests.Oci;

public sealed class OciDocumentTests
{
    [Theory]
    [InlineData("2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z")]
    [InlineData("2023-11-14T22:13:20.120000000Z", "2023-11-14T22:13:20.12Z")]
    [InlineData("2023-11-14T22:13:20.123456789+02:30", "2023-11-14T22:13:20.123456789+02:30")]
    [InlineData("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")]
    public void A_time_keeps_its_digits_and_offset(string text, string expected) =>
        Assert.Equal(expected, Rfc3339Time.Parse(text).ToString());

    [Fact]
    public void Times_are_ordered_by_instant() =>
        Assert.True(Rfc3339Time.Parse("2023-11-14T22:13:20+02:00") < Rfc3339Time.Parse("2023-11-14T21:13:20Z"));

    [Theory]
    [InlineData("""{"config":{}}""", MediaTypes.DockerManifest)]
    [InlineData("""{"layers":null}""", MediaTypes.DockerManifest)]
    [InlineData("{}", MediaTypes.DockerManifestList)]
    [InlineData("""{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}""", MediaTypes.OciIndex)]
    [InlineData("""{"mediaType":"text/plain","layers":[]}""", MediaTypes.DockerManifest)]
    public void The_kind_of_a_document_is_read_from_its_content(string json, string expected) =>
        Assert.Equal(expected, ManifestContent.DetectMediaType(Encoding.UTF8.GetBytes(json)));

    [Theory]
    [InlineData("""{"config":{},"manifests":[]}""", "invalid ambiguous manifest and manifest list")]
    [InlineData("""{"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}""", "mediaType in manifest does not match manifest contents")]
    public void A_contradicting_document_is_refused(string json, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => ManifestContent.DetectMediaType(Encoding.UTF8.GetBytes(json))).Message);

    [Fact]
    public void A_config_read_from_any_order_is_written_in_the_order_of_the_frontend()
    {
        var config = ImageConfig.Parse("""
            {"x":1,"config":{"Labels":{"b":"<","a":"é"},"Healthcheck":{"Test":["NONE"],"Interval":5},"ExposedPorts":{"80/tcp":{}},"User":"u"},
             "history":[{"created":"2020-01-01T00:00:00.10Z","empty_layer":true,"y":2}],"os":"linux","ARCHITECTURE":"amd64","created":null}
            """u8.ToArray());
        Assert.Equal(
            """{"architecture":"amd64","os":"linux","rootfs":{"type":"","diff_ids":null},"history":[{"created":"2020-01-01T00:00:00.1Z","empty_layer":true}],"config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Labels":{"a":"é","b":"\u003c"},"Healthcheck":{"Test":["NONE"],"Interval":5}}}""",
            Encoding.UTF8.GetString(config.ToFrontendJson()));
    }

    [Fact]
    public void Invalid_utf8_in_a_document_is_replaced_when_read()
    {
        byte[] json = [.. "{\"author\":\"a"u8, 0xff, .. "\\ud800\\n\"}"u8];
        Assert.Equal("a\ufffd\ufffd\n", ImageConfig.Parse(json).Author);
    }

    [Fact]
    public void An_empty_manifest_has_null_layers()
    {
        var config = new Descriptor(MediaTypes.OciConfig, Digest.Parse("sha256:471a1b8817eefb6569017c1a76f288e0d4e5c8476eb199485c469d0b033168bf"), 214);
        Assert.Equal("sha256:6cddc7c291e3d05059404a670e53a4e87166bd3f22ea50b9ae60f9d0c4423775",
            Digest.Sha256(new Manifest(MediaTypes.OciManifest, config, []).ToJson()).ToString());
        var docker = new Manifest(MediaTypes.DockerManifest, config with { MediaType = MediaTypes.DockerConfig }, []);
        Assert.Equal("sha256:3a58ad119f0dae830e39299dd9d94100e3a764665fba8810f9a873d3ac716aec", Digest.Sha256(docker.ToJson()).ToString());
    }

    [Fact]
    public async Task A_layout_directory_takes_blobs_and_replaces_names()
    {
        var directory = Directory.CreateTempSubdirectory("layout").FullName;
        try
        {
            var layout = new OciLayout(directory);
            var first = await layout.WriteBlobAsync(MediaTypes.OciManifest, "{}"u8.ToArray());
            var second = await layout.WriteBlobAsync(MediaTypes.OciManifest, "[]"u8.ToArray());
            await layout.AddToIndexAsync(first, [ImageReference.ParseWithDefaultTag("a")]);
            await layout.AddToIndexAsync(second, [ImageReference.ParseWithDefaultTag("a"), ImageReference.Parse("b:1")]);
            await layout.AddToIndexAsync(second, []);
            var index = await layout.ReadIndexAsync();
            Assert.Equal(["latest", "1", "latest"], index.Manifests.Select(manifest => manifest.Annotations[OciLayout.RefNameAnnotation]));
            Assert.All(index.Manifests, manifest => Assert.Equal(second.Digest, manifest.Digest));
            Assert.Equal("""{"imageLayoutVersion":"1.0.0"}""", await File.ReadAllTextAsync(Path.Combine(directory, "oci-layout")));
            Assert.Equal("{}"u8.ToArray(), await layout.ReadBlobAsync(first));
            Assert.False(File.Exists(Path.Combine(directory, "index.json.lock")));

            var wrong = new MemoryStream("{!"u8.ToArray());
            var error = await Assert.ThrowsAsync<InvalidDataException>(() => layout.WriteBlobAsync(Digest.Sha256("other"), 2, wrong));
            Assert.StartsWith("unexpected commit digest sha256:", error.Message, StringComparison.Ordinal);
            Assert.Equal(2, Directory.GetFiles(Path.Combine(directory, "blobs", "sha256")).Length);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
