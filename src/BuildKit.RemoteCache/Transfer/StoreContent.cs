using System.Buffers;
using System.Net;
using BuildKit.Registry.Transfer;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>The source of a request's body failed; the inner exception says why. Tells it apart from a broken connection.</summary>
internal sealed class BodySourceException(Exception inner) : Exception(inner.Message, inner);

/// <summary>A request body streamed from its source, watched and counted.</summary>
internal sealed class StoreContent(StoreBody body, SilenceLimit limit) : HttpContent
{
    private const int BufferSize = 128 * 1024;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        var source = await FromSourceAsync(() => body.OpenAsync(cancellationToken)).ConfigureAwait(false);
        await using (source.ConfigureAwait(false))
        {
            var buffer = ArrayPool<byte>.Shared.Rent(BufferSize);
            try
            {
                var sent = 0L;
                while (true)
                {
                    limit.Pause(); // the source may be slow: it is not the store's silence
                    var count = await FromSourceAsync(() => source.ReadAsync(buffer.AsMemory(0, (int)Math.Min(BufferSize, body.Size - sent)), cancellationToken)).ConfigureAwait(false);
                    limit.Restart();
                    if (count == 0)
                        break;
                    await stream.WriteAsync(buffer.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
                    sent += count;
                    body.Progress?.Report(sent);
                }
                if (sent != body.Size)
                    throw new BodySourceException(new EndOfStreamException($"unexpected size {sent}, expected {body.Size}"));
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = body.Size;
        return true;
    }

    private static async ValueTask<T> FromSourceAsync<T>(Func<ValueTask<T>> read)
    {
        try
        {
            return await read().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new BodySourceException(e);
        }
    }
}
