using System.Globalization;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Registry;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Results;

namespace BuildKit.Worker.Sources.Images;

/// <summary>Images of registries, <c>docker-image://</c> (spec 06 §9.1).</summary>
public sealed class ImageSource(ImageResolver resolver, IRefStore refs) : ISource
{
    private const string RecordTypeAttribute = "image.recordtype";
    private const string LayerLimitAttribute = "image.layerlimit";

    /// <inheritdoc/>
    public IReadOnlyList<string> Schemes => ["docker-image"];

    /// <inheritdoc/>
    public ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform)
    {
        var text = operation.Identifier["docker-image://".Length..];
        var reference = ImageReference.ParseWithDefaultTag(text);
        var recordType = operation.Attrs.GetValueOrDefault(RecordTypeAttribute, "");
        if (recordType is not ("" or "regular" or "internal" or "frontend"))
            throw new InvalidOperationException($"invalid record type {recordType}");
        return new Instance(
            resolver, refs, reference, platform, recordType.Length > 0 ? recordType : null, ParseLayerLimit(operation.Attrs.GetValueOrDefault(LayerLimitAttribute)));
    }

    internal static int? ParseLayerLimit(string? text)
    {
        if (string.IsNullOrEmpty(text))
            return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var limit) && limit > 0
            ? limit
            : throw new InvalidOperationException($"invalid layer limit {text}");
    }

    private sealed class Instance(
        ImageResolver resolver, IRefStore refs, ImageReference reference, BuildKit.Oci.Platform platform, string? recordType, int? layerLimit) : ISourceInstance
    {
        private ImageLayers? _layers;

        public SourceMaterial Material { get; } = new ImageMaterial(reference.ToString(), platform, IsLocal: false);

        public async Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            var layers = await ResolveAsync(context, cancellationToken);
            return new SourceKey(index == 0 ? layers.ManifestKey : layers.ConfigKey, IsLast: index > 0)
            {
                Pin = layers.Image.Root.Digest.ToString(),
                Options = DescriptorHandlers.ToOptions(layers.Handlers),
            };
        }

        public async Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken) =>
            await (await ResolveAsync(context, cancellationToken)).ToRefAsync(refs, recordType, cancellationToken);

        private async Task<ImageLayers> ResolveAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            if (_layers is not null)
                return _layers;
            var name = reference.ToString();
            var progress = StatusProgress.Start(context.Progress, "resolve " + name);
            try
            {
                var image = await resolver.ResolveAsync(
                    reference, platform, context.SessionIds, line => context.Progress.Write(new ProgressLog(default, 2, System.Text.Encoding.UTF8.GetBytes(line), DateTimeOffset.UtcNow)), cancellationToken);
                var pinned = reference.WithDigest(image.Root.Digest);
                var provider = new RegistryBlobProvider(() => resolver.Open(pinned, context.SessionIds));
                return _layers = ImageLayers.Of(image, platform, layerLimit, name, provider, context.Progress);
            }
            finally
            {
                progress.Done();
            }
        }
    }
}
