using BuildKit.Oci;

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
internal sealed class FirstBytesStream(Stream inner) : ForwardStream(FileAccess.ReadWrite)
{
    private const int RecordHeader = 5;
    private bool _seen;

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

    public override int Read(Span<byte> buffer) => inner.Read(buffer);

    public override void Write(ReadOnlySpan<byte> buffer) => inner.Write(buffer);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
        inner.WriteAsync(buffer, cancellationToken);

    public override void Flush() => inner.Flush();
    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
        base.Dispose(disposing);
    }
}
