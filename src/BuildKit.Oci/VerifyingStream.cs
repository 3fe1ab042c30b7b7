using System.Security.Cryptography;

namespace BuildKit.Oci;

/// <summary>
/// Passes a blob through and verifies it: reading past the expected size, ending before it, or ending with another
/// digest is an <see cref="InvalidDataException"/> at the moment the end is read. A consumer that stops early gets no verdict.
/// </summary>
public sealed class VerifyingStream : ForwardStream
{
    private readonly Stream _source;
    private readonly Digest _expected;
    private readonly long _size;
    private readonly bool _leaveOpen;
    private readonly IncrementalHash _hash;
    private long _read;
    private bool _verified;

    /// <summary>Verifies a stream.</summary>
    /// <param name="source">The blob.</param>
    /// <param name="expected">Its digest.</param>
    /// <param name="size">Its size in bytes; 0 or less when unknown.</param>
    /// <param name="leaveOpen">Whether the source outlives this stream.</param>
    public VerifyingStream(Stream source, Digest expected, long size, bool leaveOpen = false)
        : base(FileAccess.Read)
    {
        (_source, _expected, _size, _leaveOpen) = (source, expected, size, leaveOpen);
        _hash = IncrementalHash.CreateHash(expected.Algorithm switch
        {
            "sha256" => HashAlgorithmName.SHA256,
            "sha384" => HashAlgorithmName.SHA384,
            "sha512" => HashAlgorithmName.SHA512,
            _ => throw new FormatException($"unsupported digest algorithm: {expected}"),
        });
    }

    /// <summary>Whether the end was reached and the blob is the expected one.</summary>
    public bool IsVerified => _verified;

    /// <inheritdoc/>
    public override long Position
    {
        get => _read;
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        var count = _source.Read(buffer);
        Account(buffer[..count], buffer.Length > 0 && count == 0);
        return count;
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var count = await _source.ReadAsync(buffer, cancellationToken);
        Account(buffer.Span[..count], buffer.Length > 0 && count == 0);
        return count;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _hash.Dispose();
            if (!_leaveOpen)
                _source.Dispose();
        }
        base.Dispose(disposing);
    }

    private void Account(ReadOnlySpan<byte> bytes, bool isEnd)
    {
        if (_verified)
            return;
        _hash.AppendData(bytes);
        _read += bytes.Length;
        if (_size > 0 && (_read > _size || (isEnd && _read != _size)))
            throw new InvalidDataException($"unexpected commit size {_read}, expected {_size}: failed precondition");
        if (!isEnd)
            return;
        var actual = $"{_expected.Algorithm}:{Convert.ToHexStringLower(_hash.GetCurrentHash())}";
        if (actual != _expected.ToString())
            throw new InvalidDataException($"unexpected commit digest {actual}, expected {_expected}: failed precondition");
        _verified = true;
    }
}
