using System.Globalization;
using System.Text;
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
        ImageResolver resolver, IRefStore refs, ImageReference reference, BuildKit.Oci.Platform platform, string? recordType, int? layerLimit)
        : ImageInstance(refs, reference, recordType)
    {
        private readonly ImageReference _reference = reference;

        public override SourceMaterial Material => new ImageMaterial(Name, platform, IsLocal: false);

        protected override async Task<ImageLayers> ResolveAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            void Tell(string line) => context.Progress.Write(new ProgressLog(default, 2, Encoding.UTF8.GetBytes(line), DateTimeOffset.UtcNow));
            var image = await resolver.ResolveAsync(_reference, platform, context.SessionIds, Tell, cancellationToken);
            var pinned = _reference.WithDigest(image.Root.Digest);
            var provider = new RegistryBlobProvider(() => resolver.Open(pinned, context.SessionIds).Persistent);
            return ImageLayers.Of(image, platform, layerLimit, Name, provider, context.Progress);
        }
    }
}
