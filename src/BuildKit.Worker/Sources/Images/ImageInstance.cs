using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Results;

namespace BuildKit.Worker.Sources.Images;

/// <summary>An image in one build, wherever it lies: resolved once, then keyed and fetched as what it was resolved to.</summary>
internal abstract class ImageInstance(IRefStore refs, ImageReference reference, string? recordType) : ISourceInstance
{
    private ImageLayers? _layers;

    public abstract SourceMaterial Material { get; }

    /// <summary>The image's name, for whoever follows the build.</summary>
    protected string Name { get; } = reference.ToString();

    public async Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken)
    {
        var layers = await GetLayersAsync(context, cancellationToken);
        return new SourceKey(index == 0 ? layers.ManifestKey : layers.ConfigKey, IsLast: index > 0)
        {
            Pin = layers.Image.Root.Digest.ToString(),
            Options = DescriptorHandlers.ToOptions(layers.Handlers),
        };
    }

    public async Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken) =>
        await (await GetLayersAsync(context, cancellationToken)).ToRefAsync(refs, recordType, cancellationToken);

    /// <summary>Finds the image's manifest and config where it lies.</summary>
    protected abstract Task<ImageLayers> ResolveAsync(IOperationContext context, CancellationToken cancellationToken);

    private async Task<ImageLayers> GetLayersAsync(IOperationContext context, CancellationToken cancellationToken)
    {
        if (_layers is not null)
            return _layers;
        var progress = StatusProgress.Start(context.Progress, "resolve " + Name);
        try
        {
            return _layers = await ResolveAsync(context, cancellationToken);
        }
        finally
        {
            progress.Done();
        }
    }
}
