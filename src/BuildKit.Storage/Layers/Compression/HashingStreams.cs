using System.Security.Cryptography;
using BuildKit.Oci;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>Hashes what is read through it.</summary>
public sealed class HashingReadStream(Stream source) : ForwardStream(FileAccess.Read)
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Bytes read so far.</summary>
    public long Count { get; private set; }

    /// <summary>Digest of everything read.</summary>
    public Digest Finish() => Digest.FromSha256(_hash.GetHashAndReset());

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await source.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        _hash.AppendData(buffer.Span[..read]);
        Count += read;
        return read;
    }

    public override int Read(Span<byte> buffer)
    {
        var read = source.Read(buffer);
        _hash.AppendData(buffer[..read]);
        Count += read;
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _hash.Dispose();
        base.Dispose(disposing);
    }
}

/// <summary>Where compressed bytes go: counts them on the way, and hashes them unless who gets them does.</summary>
internal sealed class HashingSink(Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> write, bool hashes = true) : IDisposable
{
    private readonly IncrementalHash? _hash = hashes ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;

    internal long Count { get; private set; }

    internal ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        _hash?.AppendData(bytes.Span);
        Count += bytes.Length;
        return write(bytes, cancellationToken);
    }

    internal Digest Finish() => _hash is null ? default : Digest.FromSha256(_hash.GetHashAndReset());

    public void Dispose() => _hash?.Dispose();
}
