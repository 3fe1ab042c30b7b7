using System.Formats.Tar;
using System.IO.Compression;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>A cache as it lies in its store, read past the product: from the server's own storage.</summary>
/// <param name="MediaType">What the store says the document at the top is; empty where it has no types.</param>
/// <param name="Layers">Layers as that document (or the config) describes them, each digest once.</param>
/// <param name="Blobs">Every layer blob that is stored, named by the document or not.</param>
internal sealed record StoredCache(string MediaType, IReadOnlyList<Descriptor> Layers, IReadOnlyDictionary<Digest, byte[]> Blobs)
{
    /// <summary>Checks each layer against its blob; nothing else may be stored.</summary>
    public async Task<IReadOnlyList<StoredLayer>> VerifyAsync()
    {
        Assert.Equal(Layers.Select(l => l.Digest.ToString()).Order(StringComparer.Ordinal), Blobs.Keys.Select(d => d.ToString()).Order(StringComparer.Ordinal));
        List<StoredLayer> layers = [];
        foreach (var layer in Layers)
            layers.Add(await StoredLayer.VerifyAsync(layer, Blobs[layer.Digest]));
        return layers;
    }
}

/// <summary>A layer blob whose bytes were found to be what its descriptor says.</summary>
/// <param name="Descriptor">The descriptor.</param>
/// <param name="Form">What the bytes are: a value of the attribute <c>compression</c>.</param>
/// <param name="Files">Names of what the layer holds, directories without their slash.</param>
internal sealed record StoredLayer(Descriptor Descriptor, string Form, IReadOnlyList<string> Files)
{
    private const string TocAnnotation = "containerd.io/snapshot/stargz/toc.digest";
    private const string SizeAnnotation = "io.containers.estargz.uncompressed-size";

    /// <summary>Reads a blob with other programs than ours and compares.</summary>
    public static async Task<StoredLayer> VerifyAsync(Descriptor descriptor, byte[] blob)
    {
        Assert.Equal((descriptor.Digest, descriptor.Size), (Digest.Sha256(blob), blob.Length));
        var form = FormOf(blob);
        string[] mediaTypes = form switch
        {
            "uncompressed" => ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"],
            "zstd" => ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"],
            _ => ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"],
        };
        Assert.Contains(descriptor.MediaType, mediaTypes);
        var plain = await DecompressAsync(blob, form);
        Assert.Equal(Digest.Sha256(plain).ToString(), descriptor.Annotations["containerd.io/uncompressed"]);
        if (form == "estargz")
        {
            var contents = EStargzBlob.Verify(blob);
            Assert.Equal(contents.ContentsDigest.ToString(), descriptor.Annotations[TocAnnotation]);
            Assert.Equal($"{contents.UncompressedSize}", descriptor.Annotations[SizeAnnotation]);
        }
        else
        {
            Assert.DoesNotContain(TocAnnotation, descriptor.Annotations.Keys);
        }
        using var reader = new TarReader(new MemoryStream(plain));
        List<string> files = [];
        while (reader.GetNextEntry() is { } entry)
            files.Add(entry.Name.TrimEnd('/'));
        return new StoredLayer(descriptor, form, files);
    }

    private static string FormOf(ReadOnlySpan<byte> blob) =>
        blob.StartsWith((ReadOnlySpan<byte>)[0x28, 0xB5, 0x2F, 0xFD]) ? "zstd"
        : !blob.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B, 8]) ? "uncompressed"
        : EStargzBlob.ContentsOffset(blob) is not null ? "estargz"
        : "gzip";

    private static async Task<byte[]> DecompressAsync(byte[] blob, string form)
    {
        switch (form)
        {
            case "uncompressed":
                return blob;
            case "zstd":
                (await Programs.RunAsync("zstd", ["-t", "-q"], input: blob)).Succeeded();
                return (await Programs.RunAsync("zstd", ["-dcq"], input: blob)).Succeeded().Output;
            default:
                (await Programs.RunAsync("gzip", ["-t"], input: blob)).Succeeded();
                await using (var gzip = new GZipStream(new MemoryStream(blob), CompressionMode.Decompress))
                using (var plain = new MemoryStream())
                {
                    await gzip.CopyToAsync(plain);
                    return plain.ToArray();
                }
        }
    }
}
