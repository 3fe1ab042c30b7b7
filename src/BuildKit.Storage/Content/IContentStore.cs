using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>
/// Blobs by digest. A blob exists only when it was written whole and its digest was verified; readers never
/// see a partial one. All members may be called concurrently; writers with the same reference exclude each other.
/// </summary>
public interface IContentStore : IBlobProvider
{
    /// <summary>What is known of a blob, or null when it is not here.</summary>
    ValueTask<BlobInfo?> GetInfoAsync(Digest digest, CancellationToken cancellationToken);

    /// <summary>Opens a blob for reading; seekable. Errors: <see cref="BlobNotFoundException"/>.</summary>
    ValueTask<Stream> OpenAsync(Digest digest, CancellationToken cancellationToken);

    /// <summary>Starts (or resumes) an ingest named <paramref name="reference"/>.</summary>
    ValueTask<IBlobWriter> OpenWriterAsync(string reference, CancellationToken cancellationToken);

    /// <summary>Merges labels into a blob's labels; an empty value removes the label.</summary>
    ValueTask UpdateLabelsAsync(Digest digest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken);

    /// <summary>Removes a blob; nothing happens when it is not here.</summary>
    ValueTask DeleteAsync(Digest digest, CancellationToken cancellationToken);

    /// <summary>Every blob.</summary>
    IAsyncEnumerable<BlobInfo> ListAsync(CancellationToken cancellationToken);
}

/// <summary>A place blob bytes come from: the content store, a registry repository, a session, a cache backend.</summary>
public interface IBlobProvider
{
    /// <summary>Opens the bytes of a descriptor at an offset. The bytes are not yet verified unless the provider is a content store.</summary>
    ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken);

    /// <summary>Whether the blob is there, without reading it; the actual descriptor or null.</summary>
    ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken);
}

/// <summary>One ingest. Disposing without commit keeps what was written under the reference for a resume,
/// until <see cref="AbortAsync"/> or the next start of the daemon.</summary>
public interface IBlobWriter : IAsyncDisposable
{
    /// <summary>Bytes written so far.</summary>
    long Offset { get; }

    /// <summary>Appends bytes and hashes them.</summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);

    /// <summary>Throws away what was written and starts at 0.</summary>
    ValueTask TruncateAsync(CancellationToken cancellationToken);

    /// <summary>Verifies size and digest where given, and renames into place. An existing blob is success.</summary>
    /// <exception cref="BlobVerificationException">Size or digest differ; the ingest is gone.</exception>
    ValueTask<Digest> CommitAsync(long? expectedSize, Digest? expectedDigest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken);

    /// <summary>Forgets the ingest.</summary>
    ValueTask AbortAsync();
}

/// <summary>A stored blob.</summary>
public sealed record BlobInfo(Digest Digest, long Size, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, IReadOnlyDictionary<string, string> Labels);

/// <summary>A blob that was asked for is not here.</summary>
public sealed class BlobNotFoundException(Digest digest) : Exception($"content digest {digest}: not found")
{
    /// <summary>The digest asked for.</summary>
    public Digest Digest { get; } = digest;
}

/// <summary>Bytes did not have the size or digest they should.</summary>
public sealed class BlobVerificationException(string message) : Exception(message);
