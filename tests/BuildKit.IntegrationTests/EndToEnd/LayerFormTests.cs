using System.Formats.Tar;
using System.Net;
using System.Text;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.Storage.Layers.Compression;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Layers that change their form between a base image and what is exported: compression, eStargz, foreign layers.</summary>
public sealed class LayerFormTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    /// <summary>The build uses no file of its base: the base's layer is fetched for the export alone.</summary>
    [EndToEndTheory]
    [InlineData("gzip", "application/vnd.oci.image.layer.v1.tar+gzip")]
    [InlineData("zstd", "application/vnd.oci.image.layer.v1.tar+zstd")]
    [InlineData("uncompressed", "application/vnd.oci.image.layer.v1.tar")]
    [InlineData("estargz", "application/vnd.oci.image.layer.v1.tar+gzip")]
    public async Task A_layer_nobody_looked_at_is_converted_on_export(string compression, string mediaType)
    {
        var name = $"lazy-{compression}:latest";
        var original = await BaseImage.PushAsync(fixture.Registry, name, Tar(compression));
        using var context = new ContextDirectory($"FROM {fixture.Registry.Host}/{name}\nLABEL form={compression}\n");
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=oci,tar=false,dest={output.Path}/o,compression={compression},force-compression=true")).Succeeded();
        var layer = Assert.Single(Layers(output.Path + "/o"));
        Assert.Equal(mediaType, layer.MediaType);
        Assert.Equal(compression == "gzip", layer.Digest == original);
        Assert.Equal(compression == "estargz", layer.Annotations.ContainsKey("containerd.io/snapshot/stargz/toc.digest"));
        Assert.Equal(compression, (await FilesAsync(output.Path + "/o", layer))["form"]);
    }

    [EndToEndFact]
    public async Task A_layer_nobody_looked_at_keeps_its_form_unless_forced()
    {
        var original = await BaseImage.PushAsync(fixture.Registry, "kept:latest", Tar("kept"));
        using var context = new ContextDirectory($"FROM {fixture.Registry.Host}/kept:latest\nCOPY <<EOF /new\nnew\nEOF\n");
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=oci,tar=false,dest={output.Path}/o,compression=zstd")).Succeeded();
        var layers = Layers(output.Path + "/o");
        Assert.Equal([original], layers.Take(1).Select(l => l.Digest));
        Assert.Equal(["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"], layers.Select(l => l.MediaType));
    }

    /// <summary>What was exported in one form is the base of the next build, which exports another.</summary>
    [EndToEndTheory]
    [InlineData("zstd", "gzip")]
    [InlineData("estargz", "zstd")]
    [InlineData("uncompressed", "estargz")]
    public async Task An_image_in_one_form_is_a_base_for_another(string first, string second)
    {
        var name = $"{fixture.Registry.Host}/form-{first}-{second}:latest";
        using var context = new ContextDirectory($"FROM {fixture.Base}\nRUN echo {Guid.NewGuid():N} > /one\n");
        using var output = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--output", $"type=image,name={name},push=true,oci-mediatypes=true,compression={first},force-compression=true")).Succeeded();
        await fixture.Client.PruneAllAsync(); // or the layers are still there as they were before the export
        using var next = new ContextDirectory($"FROM {name}\nRUN test -s /one && echo two > /two\n");
        (await fixture.Client.BuildAsync(next, "--output", $"type=oci,tar=false,dest={output.Path}/o,compression={second},force-compression=true")).Succeeded();
        var layers = Layers(output.Path + "/o");
        Assert.Equal(3, layers.Count);
        Assert.All(layers, l => Assert.EndsWith(second == "zstd" ? "tar+zstd" : "tar+gzip", l.MediaType, StringComparison.Ordinal));
        Assert.All(layers, l => Assert.Equal(second == "estargz", l.Annotations.ContainsKey("containerd.io/snapshot/stargz/toc.digest")));
        Assert.Equal("two\n", (await FilesAsync(output.Path + "/o", layers[2]))["two"]);
    }

    [EndToEndTheory]
    [InlineData("true", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")]
    [InlineData("false", "application/vnd.oci.image.layer.v1.tar+gzip")]
    public async Task A_foreign_layer_stays_foreign_when_that_is_preferred(string prefer, string mediaType)
    {
        var (image, layerDigest, url) = await ForeignImageAsync("foreign-" + prefer);
        using var output = new TempDirectory();
        using var context = new ContextDirectory($"FROM {image} AS base\nFROM base\nCOPY --from=base /form /copied\n");
        (await fixture.Client.BuildAsync(context, "--output", $"type=oci,tar=false,dest={output.Path}/o,prefer-nondist-layers={prefer}")).Succeeded();
        var layers = Layers(output.Path + "/o");
        Assert.Equal(mediaType, layers[0].MediaType);
        Assert.Equal(layerDigest, layers[0].Digest);
        Assert.Equal(prefer == "true" ? [url] : [], layers[0].Urls);
        Assert.Equal("application/vnd.oci.image.layer.v1.tar+gzip", layers[1].MediaType);
        Assert.Equal("foreign-" + prefer, (await FilesAsync(output.Path + "/o", layers[1]))["copied"]);
    }

    [EndToEndTheory]
    [InlineData("true", HttpStatusCode.NotFound)]
    [InlineData("false", HttpStatusCode.OK)]
    public async Task A_foreign_layer_is_not_pushed(string prefer, HttpStatusCode expected)
    {
        var (image, layerDigest, _) = await ForeignImageAsync("pushed-" + prefer);
        using var context = new ContextDirectory($"FROM {image}\nLABEL a=b\n");
        var target = "target-" + prefer;
        (await fixture.Client.BuildAsync(context, "--output", $"type=image,name={fixture.Registry.Host}/{target}:v1,push=true,prefer-nondist-layers={prefer}")).Succeeded();
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Head, $"http://{fixture.Registry.Host}/v2/{target}/blobs/{layerDigest}");
        using var blob = await client.SendAsync(request);
        Assert.Equal(expected, blob.StatusCode);
    }

    /// <summary>An image in the registry whose only layer is foreign: it lies in another repository.</summary>
    private async Task<(string Image, Digest Layer, string Url)> ForeignImageAsync(string name)
    {
        var layer = await BaseImage.PushAsync(fixture.Registry, name + "-elsewhere:latest", Tar(name));
        var url = $"http://{fixture.Registry.Host}/v2/{name}-elsewhere/blobs/{layer}";
        Assert.Equal(layer, await BaseImage.PushAsync(fixture.Registry, name + ":latest", Tar(name), foreignUrl: url));
        return ($"{fixture.Registry.Host}/{name}:latest", layer, url);
    }

    /// <summary>A tar with one file that holds a text.</summary>
    private static byte[] Tar(string text)
    {
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
            writer.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, "form")
            {
                Mode = (UnixFileMode)0x1A4,
                ModificationTime = DateTimeOffset.FromUnixTimeSeconds(1_200_000_000),
                DataStream = new MemoryStream(Encoding.UTF8.GetBytes(text)),
            });
        return tar.ToArray();
    }

    private static IReadOnlyList<Descriptor> Layers(string layout)
    {
        var root = ImageIndex.Parse(File.ReadAllBytes(layout + "/index.json")).Manifests[0];
        return Manifest.Parse(File.ReadAllBytes($"{layout}/blobs/sha256/{root.Digest.Hex}")).Layers;
    }

    /// <summary>Texts of a layer's files by name; the blob must be what its digest says.</summary>
    private static async Task<Dictionary<string, string>> FilesAsync(string layout, Descriptor layer)
    {
        var blob = await File.ReadAllBytesAsync($"{layout}/blobs/sha256/{layer.Digest.Hex}");
        Assert.Equal(layer.Digest, Digest.Sha256(blob));
        await using var plain = await LayerDecompression.OpenAsync(new MemoryStream(blob), layer.MediaType, CancellationToken.None);
        await using var reader = new TarReader(plain);
        var files = new Dictionary<string, string>(StringComparer.Ordinal);
        while (await reader.GetNextEntryAsync(copyData: true) is { } entry)
        {
            if (entry.DataStream is { } data)
                files[entry.Name] = await new StreamReader(data).ReadToEndAsync();
        }
        return files;
    }
}
