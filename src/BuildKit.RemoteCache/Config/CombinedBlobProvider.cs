using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Config;

/// <summary>Blobs that come from different places.</summary>
internal sealed class CombinedBlobProvider(IReadOnlyDictionary<Digest, IBlobProvider> providers) : IBlobProvider
{
    public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
        providers.TryGetValue(descriptor.Digest, out var provider)
            ? provider.OpenAsync(descriptor, offset, cancellationToken)
            : throw new BlobNotFoundException(descriptor.Digest);

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
        providers.TryGetValue(descriptor.Digest, out var provider) ? provider.StatAsync(descriptor, cancellationToken) : default;
}
