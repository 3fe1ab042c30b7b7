using BuildKit.Oci;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Merging;

/// <summary>Stands for the layers of a cache of which only the config is used.</summary>
internal sealed class NoBlobs : IBlobProvider
{
    public static NoBlobs Instance { get; } = new();

    public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) => throw new BlobNotFoundException(descriptor.Digest);

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
}
