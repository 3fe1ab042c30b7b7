using BuildKit.Oci;

namespace BuildKit.Registry;

/// <summary>
/// Somewhere blobs are read from. Concurrent calls are allowed. The caller disposes the stream and verifies what it reads
/// (see <see cref="BlobReading.ReadVerifiedAsync"/> and <see cref="VerifyingStream"/>). A missing blob is a
/// <see cref="RegistryNotFoundException"/> or <see cref="FileNotFoundException"/>, at once or at the first read.
/// </summary>
public interface IBlobSource
{
    /// <summary>Opens a blob at an offset.</summary>
    Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default);
}

/// <summary>The blobs of an OCI layout directory.</summary>
/// <param name="layout">The directory.</param>
public sealed class OciLayoutBlobSource(OciLayout layout) : IBlobSource
{
    /// <inheritdoc/>
    public Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default)
    {
        var stream = layout.OpenBlob(descriptor.Digest);
        stream.Seek(offset, SeekOrigin.Begin);
        return Task.FromResult(stream);
    }
}

/// <summary>Blobs held in memory, by digest; for documents made on the way.</summary>
public sealed class MemoryBlobSource : IBlobSource
{
    private readonly System.Collections.Concurrent.ConcurrentDictionary<Digest, ReadOnlyMemory<byte>> _blobs = new();
    private readonly IBlobSource? _others;

    /// <summary>An empty source.</summary>
    /// <param name="others">Asked for what is not here.</param>
    public MemoryBlobSource(IBlobSource? others = null) => _others = others;

    /// <summary>Adds a blob.</summary>
    public Descriptor Add(string mediaType, ReadOnlyMemory<byte> blob)
    {
        var descriptor = Descriptor.Of(mediaType, blob.Span);
        _blobs[descriptor.Digest] = blob;
        return descriptor;
    }

    /// <inheritdoc/>
    public Task<Stream> OpenAsync(Descriptor descriptor, long offset = 0, CancellationToken cancellationToken = default)
    {
        if (_blobs.TryGetValue(descriptor.Digest, out var blob))
            return Task.FromResult<Stream>(new MemoryStream(blob[(int)offset..].ToArray(), writable: false));
        return _others?.OpenAsync(descriptor, offset, cancellationToken)
            ?? Task.FromException<Stream>(new RegistryNotFoundException($"content {descriptor.Digest}: not found"));
    }
}

/// <summary>Reading whole blobs.</summary>
public static class BlobReading
{
    /// <summary>Reads a small blob and verifies size and digest.</summary>
    /// <exception cref="RegistryException">Larger than the limit.</exception>
    /// <exception cref="InvalidDataException">Not the bytes the descriptor names.</exception>
    public static async Task<byte[]> ReadVerifiedAsync(this IBlobSource source, Descriptor descriptor, int limit = RegistryRepository.LargestManifest, CancellationToken cancellationToken = default)
    {
        if (descriptor.Size > limit)
            throw new RegistryException($"blob {descriptor.Digest} is too large ({descriptor.Size} > {limit})");
        if (!descriptor.Data.IsEmpty && Digest.Sha256(descriptor.Data.Span) == descriptor.Digest)
            return descriptor.Data.ToArray();
        await using var verified = new VerifyingStream(await source.OpenAsync(descriptor, 0, cancellationToken), descriptor.Digest, descriptor.Size);
        using var bytes = new MemoryStream();
        var buffer = new byte[32 * 1024];
        for (int count; (count = await verified.ReadAsync(buffer, cancellationToken)) > 0;)
        {
            if (bytes.Length + count > limit)
                throw new RegistryException($"blob {descriptor.Digest} is too large (more than {limit})");
            bytes.Write(buffer, 0, count);
        }
        return bytes.ToArray();
    }
}
