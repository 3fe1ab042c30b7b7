using System.Text;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>An image as a tar: an OCI layout, with Docker's <c>manifest.json</c> if wanted (spec 07 §6). Written as a stream.</summary>
internal sealed class ImageArchive
{
    private const string NameAnnotation = "io.containerd.image.name";
    private const string RefNameAnnotation = "org.opencontainers.image.ref.name";
    private const int BufferSize = 128 << 10;

    private readonly ImageBlobs _source;
    private readonly SortedDictionary<string, Descriptor> _blobs = new(StringComparer.Ordinal);
    private readonly byte[] _index;
    private readonly byte[]? _dockerManifest;

    private ImageArchive(ImageBlobs source, IEnumerable<Descriptor> blobs, byte[] index, byte[]? dockerManifest)
    {
        (_source, _index, _dockerManifest) = (source, index, dockerManifest);
        foreach (var blob in blobs)
            _blobs[PathOf(blob.Digest)] = blob;
    }

    /// <summary>Finds out what the tar will hold.</summary>
    public static async Task<ImageArchive> DescribeAsync(
        CommittedImage image, IReadOnlyList<ImageReference> names, bool withDockerManifest, IContentStore content, CancellationToken cancellationToken)
    {
        var contents = await ImageContents.CollectAsync(image, cancellationToken);
        var root = image.Root;
        if (await content.GetInfoAsync(root.Digest, cancellationToken) is { } info)
        {
            root = With(root, info.Labels.Where(label => label.Key.StartsWith(RegistryPusher.SourceAnnotationPrefix, StringComparison.Ordinal)));
        }
        IReadOnlyList<Descriptor> entries = names.Count == 0 ? [root] : [.. names.Select(name => With(root,
        [
            new(NameAnnotation, name.ToString()),
            new(RefNameAnnotation, name.Object),
        ]))];
        var index = new ImageIndex(MediaTypes.OciIndex, entries).ToJson(indented: false);
        byte[]? dockerManifest = null;
        if (withDockerManifest && MediaTypes.IsManifest(root.MediaType))
        {
            var manifest = Manifest.Parse(await image.Blobs.ReadVerifiedAsync(root, cancellationToken: cancellationToken));
            dockerManifest = DockerManifest(manifest, names);
        }
        return new ImageArchive(image.Blobs, contents.Manifests.Concat(contents.Blobs), index, dockerManifest);
    }

    /// <summary>Makes sure every blob is here; opening one fetches it. How many are fetched at once is for the store to say.</summary>
    public async Task FetchAsync(CancellationToken cancellationToken)
    {
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await ParallelTasks.RunAsync(_blobs.Values.Select<Descriptor, Func<Task>>(blob => async () =>
            await (await _source.OpenAsync(blob, 0, failing.Token)).DisposeAsync()), failing);
    }

    /// <summary>Writes the tar: entries in the order of their names, no times, no owners.</summary>
    public async Task WriteAsync(Stream output, CancellationToken cancellationToken)
    {
        await WriteHeaderAsync(output, new TarHeader { Name = "blobs/", Type = TarType.Directory, Mode = 0x1ED }, cancellationToken);
        foreach (var algorithm in _blobs.Values.Select(blob => blob.Digest.Algorithm).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            await WriteHeaderAsync(output, new TarHeader { Name = $"blobs/{algorithm}/", Type = TarType.Directory, Mode = 0x1ED }, cancellationToken);
            foreach (var (path, blob) in _blobs.Where(entry => entry.Value.Digest.Algorithm == algorithm))
                await WriteBlobAsync(output, path, blob, cancellationToken);
        }
        await WriteFileAsync(output, "index.json", 0x1A4, _index, cancellationToken);
        if (_dockerManifest is not null)
            await WriteFileAsync(output, "manifest.json", 0x1A4, _dockerManifest, cancellationToken);
        await WriteFileAsync(output, "oci-layout", 0x124, "{\"imageLayoutVersion\":\"1.0.0\"}"u8.ToArray(), cancellationToken);
        await output.WriteAsync(new byte[2 * TarHeaderEncoder.BlockSize], cancellationToken);
    }

    private static Descriptor With(Descriptor descriptor, IEnumerable<KeyValuePair<string, string>> annotations)
    {
        var all = new Dictionary<string, string>(descriptor.Annotations, StringComparer.Ordinal);
        foreach (var (key, value) in annotations)
            all[key] = value;
        return descriptor with { Annotations = all };
    }

    private static string PathOf(Digest digest) => $"blobs/{digest.Algorithm}/{digest.Hex}";

    private static byte[] DockerManifest(Manifest manifest, IReadOnlyList<ImageReference> names)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteStartArray();
        writer.WriteStartObject();
        writer.WriteName("Config");
        writer.WriteString(PathOf(manifest.Config.Digest));
        writer.WriteName("RepoTags");
        WriteTexts(writer, [.. names.Select(name => name.Familiar)]);
        writer.WriteName("Layers");
        WriteTexts(writer, [.. manifest.Layers.Select(layer => PathOf(layer.Digest))]);
        writer.WriteEndObject();
        writer.WriteEndArray();
        return writer.ToArray();
    }

    private static void WriteTexts(CanonicalJsonWriter writer, IReadOnlyList<string> texts)
    {
        if (texts.Count == 0)
        {
            writer.WriteNull();
            return;
        }
        writer.WriteStartArray();
        foreach (var text in texts)
            writer.WriteString(text);
        writer.WriteEndArray();
    }

    private static async Task WriteHeaderAsync(Stream output, TarHeader header, CancellationToken cancellationToken) =>
        await output.WriteAsync(TarHeaderEncoder.Encode(header), cancellationToken);

    private static async Task WriteFileAsync(Stream output, string name, long mode, byte[] bytes, CancellationToken cancellationToken)
    {
        await WriteHeaderAsync(output, new TarHeader { Name = name, Mode = mode, Size = bytes.Length }, cancellationToken);
        await output.WriteAsync(bytes, cancellationToken);
        await output.WriteAsync(new byte[TarHeaderEncoder.Padding(bytes.Length)], cancellationToken);
    }

    private async Task WriteBlobAsync(Stream output, string path, Descriptor blob, CancellationToken cancellationToken)
    {
        await WriteHeaderAsync(output, new TarHeader { Name = path, Mode = 0x124, Size = blob.Size }, cancellationToken);
        await using var verified = new VerifyingStream(await _source.OpenAsync(blob, 0, cancellationToken), blob.Digest, blob.Size);
        await verified.CopyToAsync(output, BufferSize, cancellationToken);
        await output.WriteAsync(new byte[TarHeaderEncoder.Padding(blob.Size)], cancellationToken);
    }
}
