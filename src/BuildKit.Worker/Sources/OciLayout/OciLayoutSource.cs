using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Executor;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sessions;
using BuildKit.Worker.Sources.Images;

namespace BuildKit.Worker.Sources.OciLayout;

/// <summary>Images in OCI layouts of clients, <c>oci-layout://</c> (spec 06 §9.2). Keys and layers are those of any image.</summary>
public sealed class OciLayoutSource(IClientSessions sessions, IRefStore refs) : ISource
{
    /// <summary>The scheme with its separator.</summary>
    public const string Scheme = "oci-layout://";

    /// <summary>Attribute that names the client's session.</summary>
    public const string SessionAttribute = "oci.session";

    /// <summary>Attribute that names the layout among the client's.</summary>
    public const string StoreAttribute = "oci.store";

    private const string LayerLimitAttribute = "oci.layerlimit";

    /// <inheritdoc/>
    public IReadOnlyList<string> Schemes => ["oci-layout"];

    /// <inheritdoc/>
    public ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform)
    {
        var text = operation.Identifier[Scheme.Length..];
        var reference = ImageReference.Parse(text);
        if (reference.Digest.IsEmpty)
            throw new InvalidOperationException($"reference {GoQuote.Quote(text)} must have digest");
        return new Instance(
            sessions, refs, reference, platform,
            operation.Attrs.GetValueOrDefault(SessionAttribute, ""), operation.Attrs.GetValueOrDefault(StoreAttribute, ""),
            ImageSource.ParseLayerLimit(operation.Attrs.GetValueOrDefault(LayerLimitAttribute)));
    }

    private sealed class Instance(
        IClientSessions sessions, IRefStore refs, ImageReference reference, BuildKit.Oci.Platform platform, string sessionId, string store, int? layerLimit)
        : ImageInstance(refs, reference, recordType: null)
    {
        private readonly ImageReference _reference = reference;

        public override SourceMaterial Material => new ImageMaterial(Name, platform, IsLocal: true);

        protected override async Task<ImageLayers> ResolveAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            var layout = new LayoutStore(sessions, sessionId, store, context.SessionIds);
            var image = await layout.ResolveAsync(_reference, platform, cancellationToken);
            return ImageLayers.Of(image, platform, layerLimit, Name, layout, context.Progress, isNamed: false);
        }
    }
}
