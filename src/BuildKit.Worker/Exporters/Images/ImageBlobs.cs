using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Where the bytes of an exported image are: lazy layers at their providers, all else in the content store.</summary>
internal sealed class ImageBlobs(IContentStore content) : Registry.IBlobSource
{
    private readonly ConcurrentDictionary<Digest, (Descriptor Descriptor, IBlobProvider Provider)> _layers = new();

    /// <summary>Adds layers; those written by the export itself need not be added.</summary>
    public void Add(RemoteLayers layers)
    {
        foreach (var layer in layers.Descriptors)
            _layers.TryAdd(layer.Digest, (layer, layers.Provider));
    }

    /// <inheritdoc/>
    public async Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default)
    {
        if (await content.GetInfoAsync(descriptor.Digest, cancellationToken) is null && _layers.TryGetValue(descriptor.Digest, out var layer))
            return await layer.Provider.OpenAsync(layer.Descriptor, offset, cancellationToken);
        return await content.OpenAsync(descriptor, offset, cancellationToken);
    }

    /// <summary>The descriptor with the annotations that name repositories the blob is in (spec 07 §12.6).</summary>
    public async Task<Descriptor> WithSourcesAsync(Descriptor descriptor, CancellationToken cancellationToken)
    {
        var annotations = new Dictionary<string, string>(descriptor.Annotations, StringComparer.Ordinal);
        IEnumerable<KeyValuePair<string, string>> sources = _layers.TryGetValue(descriptor.Digest, out var layer) ? layer.Descriptor.Annotations : [];
        if (await content.GetInfoAsync(descriptor.Digest, cancellationToken) is { } info)
            sources = sources.Concat(info.Labels);
        foreach (var (key, value) in sources)
        {
            if (key.StartsWith(Registry.RegistryPusher.SourceAnnotationPrefix, StringComparison.Ordinal))
                annotations[key] = value;
        }
        return descriptor with { Annotations = annotations };
    }

    /// <summary>Remembers that a blob is in a repository, when the blob is here.</summary>
    public async Task AddSourceAsync(Descriptor descriptor, ImageReference reference, CancellationToken cancellationToken)
    {
        if (await content.GetInfoAsync(descriptor.Digest, cancellationToken) is not { } info)
            return;
        var key = Registry.RegistryPusher.SourceAnnotationPrefix + Registry.RegistryPusher.HostWithoutPort(reference.Domain);
        var known = info.Labels.GetValueOrDefault(key, "").Split(',', StringSplitOptions.RemoveEmptyEntries);
        if (known.Contains(reference.Path, StringComparer.Ordinal))
            return;
        var repositories = string.Join(',', known.Append(reference.Path).Order(StringComparer.Ordinal));
        await content.UpdateLabelsAsync(descriptor.Digest, new Dictionary<string, string>(StringComparer.Ordinal) { [key] = repositories }, cancellationToken);
    }
}
