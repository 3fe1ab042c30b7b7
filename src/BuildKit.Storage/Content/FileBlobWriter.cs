using System.Buffers;
using System.Security.Cryptography;
using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>One ingest file. On resume the bytes that are already there are hashed again, so no hash state is stored.</summary>
internal sealed class FileBlobWriter : IBlobWriter
{
    private readonly FileContentStore _store;
    private readonly string _reference;
    private readonly FileContentStore.Ingest _ingest;
    private readonly string _path;
    private readonly FileStream _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private bool _closed;

    public FileBlobWriter(FileContentStore store, string reference, FileContentStore.Ingest ingest, string path)
    {
        _store = store;
        _reference = reference;
        _ingest = ingest;
        _path = path;
        _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Delete, bufferSize: 0);
        HashWhatIsThere();
    }

    /// <inheritdoc/>
    public long Offset { get; private set; }

    // The write goes to the page cache: handing it to another thread would cost more than it takes.
    /// <inheritdoc/>
    public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _file.Write(bytes.Span);
        _hash.AppendData(bytes.Span);
        Offset += bytes.Length;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask TruncateAsync(CancellationToken cancellationToken)
    {
        _file.SetLength(0);
        _file.Position = 0;
        _hash.GetHashAndReset();
        Offset = 0;
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public async ValueTask<Digest> CommitAsync(
        long? expectedSize, Digest? expectedDigest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken)
    {
        if (expectedSize is { } size && size != Offset)
        {
            await AbortAsync();
            throw new BlobVerificationException($"unexpected commit size {Offset}, expected {size}: failed precondition");
        }

        var digest = Digest.FromSha256(_hash.GetHashAndReset());
        if (expectedDigest is { IsEmpty: false } expected && expected != digest)
        {
            if (expected.Algorithm != "sha256")
                digest = await HashAgainAsync(expected.Algorithm, cancellationToken);
            if (expected != digest)
            {
                await AbortAsync();
                throw new BlobVerificationException($"unexpected commit digest {digest}, expected {expected}: failed precondition");
            }
        }

        _file.Flush(flushToDisk: true);
        _store.Adopt(_path, digest, Offset, labels);
        await DisposeAsync();
        return digest;
    }

    /// <inheritdoc/>
    public async ValueTask AbortAsync()
    {
        if (_closed)
            return;
        File.Delete(_path);
        await DisposeAsync();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_closed)
            return;
        _closed = true;
        await _file.DisposeAsync();
        _hash.Dispose();
        _ingest.Turn.Release();
        _store.LeaveIngest(_reference, _ingest);
    }

    private void HashWhatIsThere()
    {
        var buffer = ArrayPool<byte>.Shared.Rent(1 << 16);
        int read;
        while ((read = _file.Read(buffer)) > 0)
        {
            _hash.AppendData(buffer, 0, read);
            Offset += read;
        }

        ArrayPool<byte>.Shared.Return(buffer);
    }

    private async Task<Digest> HashAgainAsync(string algorithm, CancellationToken cancellationToken)
    {
        _file.Position = 0;
        var hash = algorithm switch
        {
            "sha384" => await SHA384.HashDataAsync(_file, cancellationToken),
            "sha512" => await SHA512.HashDataAsync(_file, cancellationToken),
            _ => throw new BlobVerificationException($"unsupported digest algorithm {algorithm}"),
        };
        return Digest.Unchecked($"{algorithm}:{Convert.ToHexStringLower(hash)}");
    }
}
