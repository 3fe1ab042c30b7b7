using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Digests;

namespace BuildKit.Worker.Sources.Images;

/// <summary>A resolved image as cache keys and lazy layers (spec 06 §9.1 points 4 to 6).</summary>
internal sealed class ImageLayers
{
    private const string Uncompressed = "containerd.io/uncompressed";
    private readonly IReadOnlyList<Descriptor> _layers;
    private readonly string _name;
    private readonly bool _isNamed;

    private ImageLayers(
        ResolvedImage image, string name, bool isNamed, IReadOnlyList<Descriptor> layers, IReadOnlyDictionary<Digest, DescriptorHandler> handlers, string manifestKey, string configKey)
    {
        Image = image;
        _name = name;
        _isNamed = isNamed;
        _layers = layers;
        Handlers = handlers;
        ManifestKey = manifestKey;
        ConfigKey = configKey;
    }

    public ResolvedImage Image { get; }

    /// <summary>Where each layer can be fetched from.</summary>
    public IReadOnlyDictionary<Digest, DescriptorHandler> Handlers { get; }

    /// <summary>Key by what the reference names.</summary>
    public string ManifestKey { get; }

    /// <summary>Key by what the layers contain: the same image under another manifest is found by it.</summary>
    public string ConfigKey { get; }

    /// <summary>Prepares the layers of a resolved image.</summary>
    /// <param name="image">The image.</param>
    /// <param name="platform">For which platform it was resolved.</param>
    /// <param name="layerLimit">How many layers are used; null for all.</param>
    /// <param name="name">The image's name, for people.</param>
    /// <param name="provider">Has the layers.</param>
    /// <param name="progress">Where downloads are shown.</param>
    /// <param name="isNamed">Whether the name is that of a repository which has the layers: they can then be had from there again.</param>
    public static ImageLayers Of(
        ResolvedImage image, Platform platform, int? layerLimit, string name, IBlobProvider provider, IProgressWriter progress, bool isNamed = true)
    {
        var manifestKey = SourceDigest.ImageManifestKey(image.Root.Digest, platform, layerLimit);
        var configKey = SourceDigest.ImageConfigKey(image.ConfigJson.Span, manifestKey, layerLimit);
        var config = ImageConfig.Parse(image.ConfigJson);
        var diffIds = Limit(config.DiffIds, layerLimit);
        var blobs = Limit(image.Manifest.Layers, layerLimit);
        if (blobs.Count != diffIds.Count)
            throw new InvalidOperationException($"mismatched image rootfs and manifest layers: {diffIds.Count} diff ids for {blobs.Count} layers in {name}");
        var layers = new List<Descriptor>();
        var handlers = new Dictionary<Digest, DescriptorHandler>();
        foreach (var (blob, diffId) in blobs.Zip(diffIds))
        {
            var annotations = new Dictionary<string, string>(blob.Annotations, StringComparer.Ordinal) { [Uncompressed] = diffId.ToString() };
            layers.Add(blob with { Annotations = annotations });
            handlers[blob.Digest] = new DescriptorHandler
            {
                Provider = provider,
                Annotations = annotations,
                Ref = name,
                Progress = StatusProgress.Reporter(progress),
            };
        }
        return new ImageLayers(image, name, isNamed, layers, handlers, manifestKey, configKey);
    }

    /// <summary>The top record of the image, nothing downloaded; null for an image without layers.</summary>
    public async Task<IImmutableRef?> ToRefAsync(IRefStore refs, string? recordType, CancellationToken cancellationToken)
    {
        IImmutableRef? top = null;
        try
        {
            for (var i = 0; i < _layers.Count; i++)
            {
                var below = top;
                var isTop = i == _layers.Count - 1;
                top = await refs.GetByBlobAsync(
                    _layers[i], below,
                    new RefOptions
                    {
                        Handlers = Handlers,
                        Description = "pulled from " + _name,
                        RecordType = isTop ? recordType : null,
                        ImageRef = _isNamed ? _name : null,
                        CreatedAt = null,
                    },
                    cancellationToken);
                if (below is not null)
                    await below.DisposeAsync();
            }
            return top;
        }
        catch
        {
            if (top is not null)
                await top.DisposeAsync();
            throw;
        }
    }

    private static IReadOnlyList<T> Limit<T>(IReadOnlyList<T> items, int? limit) => limit is { } count && count < items.Count ? [.. items.Take(count)] : items;
}
