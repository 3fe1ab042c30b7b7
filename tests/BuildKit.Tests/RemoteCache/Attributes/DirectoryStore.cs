using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>A directory as the daemon sees it through a client's session.</summary>
internal sealed class DirectoryStore(string directory) : IClientContentStore
{
    private readonly OciLayout _layout = new(directory);

    public Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken) =>
        Task.FromResult(new FileInfo(_layout.BlobPath(digest)) is { Exists: true } file ? file.Length : (long?)null);

    public Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken)
    {
        var stream = _layout.OpenBlob(digest);
        stream.Position = offset;
        return Task.FromResult(stream);
    }

    public Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken) =>
        _layout.WriteBlobAsync(descriptor.Digest, descriptor.Size, content, cancellationToken);
}
