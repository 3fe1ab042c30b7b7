using System.Text;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Storage.Refs;
using BuildKit.Tests.Storage;
using BuildKit.Tests.Support;
using BuildKit.Worker.Exporters.Attestations;

namespace BuildKit.Tests.Worker.Exporters;

/// <summary>Bills of materials as the image exporter writes them anew (spec 07 §9.5 step 5).</summary>
public sealed class SpdxTests
{
    private const string OciTar = "application/vnd.oci.image.layer.v1.tar";

    private static Task<byte[]?> SupplementAsync(string json, params (string Path, Digest Layer)[] layers) => SpdxDocument.SupplementAsync(
        Encoding.UTF8.GetBytes(json),
        (paths, _) => Task.FromResult<IReadOnlyDictionary<string, Digest>>(layers.Where(layer => paths.Contains(layer.Path)).ToDictionary(layer => layer.Path, layer => layer.Layer, StringComparer.Ordinal)),
        "Tool: buildkit-v0.20.0", default);

    [Fact]
    public async Task Every_field_is_written_as_the_reference_writes_it()
    {
        using var index = JsonDocument.Parse(await File.ReadAllBytesAsync(Golden.Own("attestations", "index.json")));
        var layer = Digest.Parse(index.RootElement.GetProperty("layer").GetString()!);
        // A file that has a comment keeps it.
        var written = await SupplementAsync(await File.ReadAllTextAsync(Golden.Own("attestations", "scanned.spdx.json")), ("/bin/sh", layer), ("/bin/busybox", layer));
        Assert.Equal(await File.ReadAllTextAsync(Golden.Own("attestations", "exported.spdx.json")), Encoding.UTF8.GetString(written!));
    }

    [Fact]
    public async Task A_small_document_is_made_whole()
    {
        var written = await SupplementAsync("""{"spdxVersion":"SPDX-2.2","files":[],"NAME":"n"}""");
        Assert.Equal(
            """{"spdxVersion":"SPDX-2.3","dataLicense":"","SPDXID":"SPDXRef-","name":"n","documentNamespace":"","creationInfo":{"creators":["Tool: buildkit-v0.20.0"],"created":""}}""",
            Encoding.UTF8.GetString(written!));
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"spdxVersion":"SPDX-3.0"}""")]
    [InlineData("""{"spdxVersion":2}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","SPDXID":"x"}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","files":{}}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","files":[null]}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","creationInfo":{"creators":["me"]}}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","packages":[{"supplier":"me"}]}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","relationships":[{"spdxElementId":"a"}]}""")]
    [InlineData("""{"spdxVersion":"SPDX-2.3","packages":[{"filesAnalyzed":"yes"}]}""")]
    public async Task What_is_no_document_stays_as_it_is(string json) => Assert.Null(await SupplementAsync(json));

    [Fact]
    public async Task Files_are_looked_for_from_the_top_layer_down_and_removals_do_not_count()
    {
        var provider = new MemoryProvider();
        var bottom = await AddAsync("a", "dir/b", "gone", "./dotted");
        var top = await AddAsync("a", ".wh.gone", "dir/.wh..wh..opq", "link/");
        var found = await LayerFiles.FindAsync(new RemoteLayers([bottom, top], provider), null, ["/a", "/dir/b", "/gone", "/dotted", "/link", "/never"], default);
        Assert.Equal(
            [("/a", top.Digest), ("/dir/b", bottom.Digest), ("/dotted", bottom.Digest), ("/gone", bottom.Digest), ("/link", top.Digest)],
            found.OrderBy(file => file.Key, StringComparer.Ordinal).Select(file => (file.Key, file.Value)));
        // Once all are found, no further layer is read.
        var opened = provider.Opened;
        await LayerFiles.FindAsync(new RemoteLayers([bottom, top], provider), null, ["/a"], default);
        Assert.Equal(1, provider.Opened - opened);

        async Task<Descriptor> AddAsync(params string[] names)
        {
            using var tar = new MemoryStream();
            await using (var writer = new System.Formats.Tar.TarWriter(tar, System.Formats.Tar.TarEntryFormat.Pax, leaveOpen: true))
            {
                foreach (var name in names)
                {
                    var type = name.EndsWith('/') ? System.Formats.Tar.TarEntryType.Directory : System.Formats.Tar.TarEntryType.RegularFile;
                    await writer.WriteEntryAsync(new System.Formats.Tar.PaxTarEntry(type, name));
                }
            }
            return provider.Add(OciTar, tar.ToArray(), Digest.Sha256(tar.ToArray()));
        }
    }
}
