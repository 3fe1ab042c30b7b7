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
        IClientSessions sessions, IRefStore refs, ImageReference reference, BuildKit.Oci.Platform platform, string sessionId, string store, int? layerLimit) : ISourceInstance
    {
        private ImageLayers? _layers;

        public SourceMaterial Material { get; } = new ImageMaterial(reference.ToString(), platform, IsLocal: true);

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
            await (await ResolveAsync(context, cancellationToken)).ToRefAsync(refs, recordType: null, cancellationToken);

        private async Task<ImageLayers> ResolveAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            if (_layers is not null)
                return _layers;
            var name = reference.ToString();
            var progress = StatusProgress.Start(context.Progress, "resolve " + name);
            try
            {
                var layout = new LayoutStore(sessions, sessionId, store, context.SessionIds);
                var image = await layout.ResolveAsync(reference, platform, cancellationToken);
                return _layers = ImageLayers.Of(image, platform, layerLimit, name, layout, context.Progress, isNamed: false);
            }
            finally
            {
                progress.Done();
            }
        }
    }
}
