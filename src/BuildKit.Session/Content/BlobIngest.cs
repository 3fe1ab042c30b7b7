using System.Security.Cryptography;
using BuildKit.Oci;
using BuildKit.Protocol.Content;
using BuildKit.Protocol.Grpc;
using Google.Protobuf.WellKnownTypes;

namespace BuildKit.Session.Content;

/// <summary>A blob being written; disposing without commit leaves nothing.</summary>
internal sealed class BlobIngest : IDisposable
{
    private readonly string _path;
    private readonly FileStream _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly TimeProvider _time;
    private readonly Timestamp _startedAt;
    private Timestamp _updatedAt;
    private Digest _committed;

    public BlobIngest(string path, long total, string expected, TimeProvider time)
    {
        _path = path;
        _file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
        Total = total;
        Expected = expected;
        _time = time;
        _startedAt = _updatedAt = Timestamp.FromDateTimeOffset(time.GetUtcNow());
    }

    public long Length { get; private set; }

    public long Total { get; set; }

    public string Expected { get; set; }

    public void Append(ReadOnlySpan<byte> bytes)
    {
        _file.Write(bytes);
        _hash.AppendData(bytes);
        Length += bytes.Length;
        _updatedAt = Timestamp.FromDateTimeOffset(_time.GetUtcNow());
    }

    public void Truncate()
    {
        _file.SetLength(0);
        _file.Position = 0;
        _ = _hash.GetHashAndReset();
        Length = 0;
    }

    public void Commit(LayoutBlobs blobs)
    {
        var digest = CurrentDigest();
        if (Total > 0 && Length != Total)
            throw new RpcException(StatusCode.FailedPrecondition, $"unexpected commit size {Length}, expected {Total}: failed precondition");
        if (Expected.Length > 0 && !string.Equals(Expected, digest.ToString(), StringComparison.Ordinal))
            throw new RpcException(StatusCode.FailedPrecondition, $"unexpected commit digest {digest}, expected {Expected}: failed precondition");
        _file.Flush(flushToDisk: false);
        _file.Dispose();
        blobs.Commit(_path, digest);
        _committed = digest;
    }

    public WriteContentResponse Answer(WriteAction action) => new()
    {
        Action = action,
        Offset = Length,
        Total = Total,
        StartedAt = _startedAt,
        UpdatedAt = _updatedAt,
        Digest = action == WriteAction.Write ? "" : (_committed.IsEmpty ? CurrentDigest() : _committed).ToString(),
    };

    public Protocol.Content.Status Describe(string reference) => new()
    {
        Ref = reference,
        Offset = Length,
        Total = Total,
        Expected = Expected,
        StartedAt = _startedAt,
        UpdatedAt = _updatedAt,
    };

    public void Dispose()
    {
        _file.Dispose();
        _hash.Dispose();
        if (_committed.IsEmpty)
            File.Delete(_path);
    }

    private Digest CurrentDigest()
    {
        Span<byte> value = stackalloc byte[SHA256.HashSizeInBytes];
        _hash.GetCurrentHash(value);
        return Digest.FromSha256(value);
    }
}
