using System.Net;
using BuildKit.Oci;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry.Http;

/// <summary>A request body of which the limit sees the bytes go: the time its source takes does not count as silence of the
/// receiver.</summary>
internal sealed class WatchedContent : HttpContent
{
    private readonly HttpContent _inner;
    private readonly SilenceLimit _limit;

    public WatchedContent(HttpContent inner, SilenceLimit limit)
    {
        (_inner, _limit) = (inner, limit);
        foreach (var (name, values) in inner.Headers.NonValidated)
            Headers.TryAddWithoutValidation(name, values);
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        _limit.Pause();
        await _inner.CopyToAsync(new WatchedStream(stream, _limit), context, cancellationToken);
        _limit.Restart();
    }

    protected override bool TryComputeLength(out long length)
    {
        length = _inner.Headers.ContentLength ?? -1;
        return length >= 0;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _inner.Dispose();
        base.Dispose(disposing);
    }

    private sealed class WatchedStream(Stream inner, SilenceLimit limit) : ForwardStream(FileAccess.Write)
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            limit.Restart();
            await inner.WriteAsync(buffer, cancellationToken);
            limit.Pause();
        }

        public override void Write(ReadOnlySpan<byte> buffer) => inner.Write(buffer);

        public override void Flush() => inner.Flush();

        public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);
    }
}
