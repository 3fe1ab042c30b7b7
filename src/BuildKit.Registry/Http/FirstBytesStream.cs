namespace BuildKit.Registry.Http;

/// <summary>The answer to a TLS hello was no TLS record.</summary>
internal sealed class NoTlsRecordException(bool isHttp) : IOException(
    isHttp ? "http: server gave HTTP response to HTTPS client" : "tls: first record does not look like a TLS handshake")
{
    /// <summary>Whether the answer began with <c>HTTP/</c>.</summary>
    public bool IsHttp => isHttp;
}

/// <summary>A connection under TLS whose first five bytes are looked at: a server that speaks plain HTTP is told apart from
/// one that speaks nonsense (spec 07 §12.2).</summary>
internal sealed class FirstBytesStream(Stream inner) : Stream
{
    private const int RecordHeader = 5;
    private bool _seen;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_seen || buffer.Length < RecordHeader)
            return await inner.ReadAsync(buffer, cancellationToken);
        _seen = true;
        var count = await inner.ReadAtLeastAsync(buffer, RecordHeader, throwOnEndOfStream: false, cancellationToken);
        if (count >= RecordHeader && (buffer.Span[0] is < 0x14 or > 0x18 || buffer.Span[1] != 3))
            throw new NoTlsRecordException(buffer.Span.StartsWith("HTTP/"u8));
        return count;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

    public override void Write(byte[] buffer, int offset, int count) => inner.Write(buffer, offset, count);

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        inner.WriteAsync(buffer, offset, count, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.WriteAsync(buffer, cancellationToken);

    public override void Flush() => inner.Flush();
    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
        base.Dispose(disposing);
    }
}
