using System.Text;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Session.Content;
using BuildKit.Session.FileSend;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters;

namespace BuildKit.Tests.Worker.Exporters;

public sealed class ClientOutputTests
{
    private const string Set = "oci-rewrite";

    [Fact]
    public async Task An_oci_tar_has_the_entries_of_the_reference()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var (tar, response, metadata) = await ExportTarAsync(fixture, "oci", ("name", "example.com/foo/bar:v1"), ("rewrite-timestamp", "true"));
        Assert.Equal(Encoding.UTF8.GetString(ExporterFixture.GoldenFile(Set, "tar-listing.txt")), Listing(tar));
        Assert.Equal(Encoding.UTF8.GetString(ExporterFixture.GoldenFile(Set, "layout-index.json")), Encoding.UTF8.GetString(tar["index.json"].Bytes));
        Assert.Equal(ExporterFixture.GoldenFile(Set, "oci-layout"), tar["oci-layout"].Bytes);
        Assert.Equal("sending tarball", fixture.Progress.Lines[^1]);
        Assert.Contains("rewriting layers with source-date-epoch 1700000000 (2023-11-14 22:13:20 +0000 UTC)", fixture.Progress.Lines);
        Assert.Equal(response, metadata);
        Assert.Equal("example.com/foo/bar:v1", response["image.name"]);
    }

    [Fact]
    public async Task A_docker_tar_names_the_image_for_docker()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var (tar, response, _) = await ExportTarAsync(fixture, "docker", ("name", "foo:dev"));
        var manifest = Manifest.Parse(tar["blobs/sha256/" + Digest.Parse(response["containerimage.digest"]).Hex].Bytes);
        Assert.Equal(MediaTypes.DockerManifest, manifest.MediaType);
        var layers = string.Join(',', manifest.Layers.Select(layer => $"\"blobs/sha256/{layer.Digest.Hex}\""));
        Assert.Equal(
            $$"""[{"Config":"blobs/sha256/{{manifest.Config.Digest.Hex}}","RepoTags":["foo:dev"],"Layers":[{{layers}}]}]""",
            Encoding.UTF8.GetString(tar["manifest.json"].Bytes));
        Assert.Equal("docker.io/library/foo:dev", response["image.name"]);
    }

    [Fact]
    public async Task Times_inside_layers_are_clamped()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var (tar, response, _) = await ExportTarAsync(fixture, "oci", ("rewrite-timestamp", "true"), ("source-date-epoch", "1600000000"));
        var manifest = Manifest.Parse(tar["blobs/sha256/" + Digest.Parse(response["containerimage.digest"]).Hex].Bytes);
        var config = ImageConfig.Parse(tar["blobs/sha256/" + manifest.Config.Digest.Hex].Bytes);
        for (var i = 0; i < manifest.Layers.Count; i++)
        {
            var before = await ReadLayerAsync(ExporterFixture.GoldenFile(Set, $"layer-{i}.tar.gz"));
            var after = await ReadLayerAsync(tar["blobs/sha256/" + manifest.Layers[i].Digest.Hex].Bytes);
            Assert.Equal("1600000000", manifest.Layers[i].Annotations["buildkit/rewritten-timestamp"]);
            Assert.Equal(config.DiffIds[i], Digest.Sha256(after));
            var (old, changed) = (await ReadTarAsync(before), await ReadTarAsync(after));
            Assert.Equal(old.Keys, changed.Keys);
            Assert.All(changed, entry => Assert.Equal(1600000000, entry.Value.Header.Mtime.Seconds));
            Assert.All(old, entry => Assert.Equal(entry.Value.Bytes, changed[entry.Key].Bytes));
        }
    }

    [Fact]
    public async Task A_layout_directory_gets_every_blob()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var source = await SourceAsync(fixture);
        var target = Path.Combine(fixture.Root, "layout");
        var client = new ContentStoreProvider(new Dictionary<string, string> { [ContentStores.Export] = target }).ToService();
        var exporter = fixture.Create("oci", ("tar", "false"), ("source-date-epoch", ExporterFixture.Epoch));
        var response = await exporter.ExportAsync(fixture.Request(source, client), default);
        var names = Directory.EnumerateFiles(Path.Combine(target, "blobs", "sha256")).Select(Path.GetFileName).Order(StringComparer.Ordinal);
        var manifest = Manifest.Parse(ExporterFixture.GoldenFile(Set, "manifest.json"));
        Assert.Equal(
            new[] { Digest.Parse(response["containerimage.digest"]), manifest.Config.Digest }.Concat(manifest.Layers.Select(layer => layer.Digest)).Select(digest => digest.Hex).Order(StringComparer.Ordinal),
            names);
        Assert.DoesNotContain("sending tarball", fixture.Progress.Lines);
    }

    [Fact]
    public async Task A_name_that_is_none_fails_after_the_image_was_made()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var error = await Assert.ThrowsAnyAsync<Exception>(() => fixture.Create("oci", ("name", "FOO")).ExportAsync(fixture.Request(new ExportSource()), default));
        Assert.Equal("failed to parse FOO: invalid reference format: repository name (library/FOO) must be lowercase", error.Message);
        Assert.StartsWith("exporting config", fixture.Progress.Lines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_docker_tar_of_several_platforms_is_refused()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var source = new ExportSource { Refs = new Dictionary<string, IImmutableRef?> { ["linux/amd64"] = null } };
        var error = await Assert.ThrowsAnyAsync<Exception>(() => fixture.Create("docker").ExportAsync(fixture.Request(source), default));
        Assert.Equal("docker exporter does not currently support exporting manifest lists", error.Message);
    }

    [Fact]
    public async Task Platforms_of_a_local_output_have_directories_and_attestations()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var target = Path.Combine(fixture.Root, "out");
        var client = FileSendTarget.Create(new Dictionary<int, SendTarget> { [0] = SendTarget.ToDirectory(target) });
        var response = await fixture.Create("local", ("source-date-epoch", ExporterFixture.Epoch)).ExportAsync(fixture.Request(TwoTrees(fixture), client), default);
        Assert.Empty(response);
        Assert.Equal("amd64", await File.ReadAllTextAsync(Path.Combine(target, "linux_amd64", "file")));
        Assert.Equal("arm64", await File.ReadAllTextAsync(Path.Combine(target, "linux_arm64", "file")));
        var statement = await File.ReadAllTextAsync(Path.Combine(target, "linux_amd64", "provenance.json"));
        Assert.Equal(
            $$"""
            {
              "_type": "https://in-toto.io/Statement/v0.1",
              "predicateType": "https://example.com/p",
              "subject": [
                {
                  "name": "file",
                  "digest": {
                    "sha256": "{{Digest.Sha256("amd64"u8).Hex}}"
                  }
                }
              ],
              "predicate": {
                "b": 1,
                "a": "\u003c"
              }
            }
            """,
            statement);
        Assert.Equal(1700000000, LinuxFile.Lstat(Path.Combine(target, "linux_arm64", "file")).Mtime.Seconds);
        Assert.Equal(["copying files linux/amd64", "copying files linux/arm64"], fixture.Progress.Lines.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Platforms_that_overlap_cannot_share_a_directory()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var client = FileSendTarget.Create(new Dictionary<int, SendTarget> { [0] = SendTarget.ToDirectory(Path.Combine(fixture.Root, "out")) });
        var error = await Assert.ThrowsAnyAsync<Exception>(() =>
            fixture.Create("local", ("platform-split", "false")).ExportAsync(fixture.Request(TwoTrees(fixture), client), default));
        Assert.Contains("when split option is disabled", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_tar_holds_the_tree_with_its_kinds_of_files()
    {
        await using var fixture = await ExporterFixture.OpenAsync();
        var directory = Directory.CreateDirectory(Path.Combine(fixture.Root, "tree")).FullName;
        Directory.CreateDirectory(Path.Combine(directory, "sub"));
        await File.WriteAllTextAsync(Path.Combine(directory, "sub", "a"), "content");
        File.CreateSymbolicLink(Path.Combine(directory, "link"), "sub/a");
        var tar = await SendAsync(fixture, fixture.Create("tar", ("source-date-epoch", ExporterFixture.Epoch)), new ExportSource { Ref = new FakeRef { Directory = directory } });
        var entries = await ReadTarAsync(tar.Bytes);
        Assert.Equal(["link", "sub/", "sub/a"], entries.Keys);
        Assert.Equal((TarType.Symlink, "sub/a"), (entries["link"].Header.Type, entries["link"].Header.LinkName));
        Assert.Equal("content", Encoding.UTF8.GetString(entries["sub/a"].Bytes));
        Assert.All(entries.Values, entry => Assert.Equal(1700000000, entry.Header.Mtime.Seconds));
        Assert.Empty(tar.Metadata);
        Assert.Equal(["sending tarball"], fixture.Progress.Lines);
    }

    private static ExportSource TwoTrees(ExporterFixture fixture) => new()
    {
        IsKeyed = true,
        Refs = new[] { "amd64", "arm64" }.ToDictionary(name => "linux/" + name, name =>
        {
            var directory = Directory.CreateDirectory(Path.Combine(fixture.Root, "tree-" + name)).FullName;
            File.WriteAllText(Path.Combine(directory, "file"), name);
            return (IImmutableRef?)new FakeRef { Directory = directory };
        }),
        Metadata = new Dictionary<string, byte[]>
        {
            ["refs.platforms"] = """{"Platforms":[{"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},{"ID":"linux/arm64","Platform":{"architecture":"arm64","os":"linux"}}]}"""u8.ToArray(),
        },
        Attestations = new Dictionary<string, IReadOnlyList<ExportAttestation>>
        {
            ["linux/amd64"] = [new ExportAttestation { Path = "provenance.json", PredicateType = "https://example.com/p", Content = _ => Task.FromResult("""{"b":1,"a":"<"}"""u8.ToArray()) }],
        },
    };

    private static async Task<ExportSource> SourceAsync(ExporterFixture fixture)
    {
        for (var i = 0; i < 3; i++)
            await fixture.AddAsync(ExporterFixture.GoldenFile(Set, $"layer-{i}.tar.gz"));
        return new ExportSource
        {
            Ref = fixture.GoldenRef(Set),
            Metadata = new Dictionary<string, byte[]> { ["containerimage.config"] = ExporterFixture.GoldenInput(Set) },
        };
    }

    private static async Task<(Dictionary<string, (TarHeader Header, byte[] Bytes)> Tar, IReadOnlyDictionary<string, string> Response, IReadOnlyDictionary<string, string> Metadata)> ExportTarAsync(
        ExporterFixture fixture, string type, params (string Key, string Value)[] attributes)
    {
        var source = await SourceAsync(fixture);
        if (!attributes.Any(pair => pair.Key == "source-date-epoch"))
            attributes = [.. attributes, ("source-date-epoch", ExporterFixture.Epoch)];
        var sent = await SendAsync(fixture, fixture.Create(type, attributes), source);
        return (await ReadTarAsync(sent.Bytes), sent.Response, sent.Metadata);
    }

    private static async Task<(byte[] Bytes, IReadOnlyDictionary<string, string> Response, IReadOnlyDictionary<string, string> Metadata)> SendAsync(
        ExporterFixture fixture, IExporter exporter, ExportSource source)
    {
        var bytes = new MemoryStream();
        IReadOnlyDictionary<string, string> metadata = new Dictionary<string, string>();
        var client = FileSendTarget.Create(new Dictionary<int, SendTarget>
        {
            [0] = SendTarget.ToStream((given, _) =>
            {
                metadata = given;
                return ValueTask.FromResult<Stream?>(bytes);
            }),
        });
        var response = await exporter.ExportAsync(fixture.Request(source, client), default);
        return (bytes.ToArray(), response, metadata);
    }

    private static async Task<byte[]> ReadLayerAsync(byte[] blob)
    {
        await using var plain = await LayerDecompression.OpenAsync(new MemoryStream(blob), MediaTypes.OciLayerGzip, default);
        using var bytes = new MemoryStream();
        await plain.CopyToAsync(bytes);
        return bytes.ToArray();
    }

    private static async Task<Dictionary<string, (TarHeader Header, byte[] Bytes)>> ReadTarAsync(byte[] tar)
    {
        var reader = new TarReader(new MemoryStream(tar));
        var entries = new Dictionary<string, (TarHeader, byte[])>(StringComparer.Ordinal);
        while (await reader.NextAsync(default) is { } header)
        {
            var content = new MemoryStream();
            var buffer = new byte[4096];
            for (int read; (read = await reader.ReadAsync(buffer, default)) > 0;)
                content.Write(buffer, 0, read);
            entries.Add(header.Name, (header, content.ToArray()));
        }
        return entries;
    }

    private static string Listing(Dictionary<string, (TarHeader Header, byte[] Bytes)> tar) => string.Concat(tar.Values.Select(entry =>
        $"0o{Convert.ToString(entry.Header.Mode, 8)} {(char)entry.Header.Type} {entry.Header.Size} {entry.Header.Mtime.Seconds} {entry.Header.Name.TrimEnd('/')}\n"));
}
