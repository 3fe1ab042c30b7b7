using System.Globalization;
using BuildKit.Registry.Transfer;

namespace BuildKit.RemoteCache.Transfer;

/// <summary>Reading a stored blob over as many connections as it takes.</summary>
public static class StoreDownload
{
    /// <summary>Opens a blob at an offset. Nothing is sent before the first read; a connection that breaks, ends early or falls
    /// silent is replaced by one that goes on at the same byte. The bytes are not verified: whoever stores them does that.</summary>
    /// <param name="store">The store.</param>
    /// <param name="request">The request for the whole blob; a range is added where one is needed.</param>
    /// <param name="rangeHeader">Name of the range header, <c>Range</c> or the store's own.</param>
    /// <param name="offset">First byte wanted.</param>
    /// <param name="size">Size of the blob in bytes.</param>
    public static Stream Open(StoreConnection store, StoreRequest request, string rangeHeader, long offset, long size) =>
        Open(store, (position, token) => OpenAtAsync(store, request, rangeHeader, position, token), offset, size);

    /// <summary>As the other, for blobs whose address must be asked for.</summary>
    /// <param name="store">The store.</param>
    /// <param name="openAt">Opens the blob at a byte with one request; see <see cref="OpenAtAsync"/>.</param>
    /// <param name="offset">First byte wanted.</param>
    /// <param name="size">Size of the blob in bytes.</param>
    public static Stream Open(StoreConnection store, Func<long, CancellationToken, Task<Stream>> openAt, long offset, long size) => new ResumingStream(
        openAt, offset, size,
        new ResumeRules(
            static error => error is TransferException { IsTransient: true },
            static text => new TransferException(text) { IsTransient = true },
            (breaks, _, token) => store.Policy.PauseAsync(breaks, null, store.Time, token)));

    /// <summary>Opens a blob at a byte; one that the store sends whole is read up to there.</summary>
    /// <exception cref="TransferException">The store refused, or answered with other bytes.</exception>
    public static async Task<Stream> OpenAtAsync(StoreConnection store, StoreRequest request, string rangeHeader, long position, CancellationToken cancellationToken)
    {
        if (position == 0)
            return (await store.SendAsync(request, cancellationToken).ConfigureAwait(false)).OwnedBody();
        var first = position.ToString(CultureInfo.InvariantCulture);
        var answer = await store.SendAsync(request with { Headers = [.. request.Headers, new(rangeHeader, $"bytes={first}-")] }, cancellationToken).ConfigureAwait(false);
        try
        {
            var range = answer.Header("Content-Range");
            if (range.StartsWith($"bytes {first}-", StringComparison.Ordinal))
                return answer.OwnedBody();
            if (range.Length > 0)
                throw new TransferException($"the store answered with range {range} when asked for the bytes from {first}");
            // A store without ranges sends everything again.
            var buffer = new byte[64 * 1024];
            for (var left = position; left > 0;)
            {
                var count = await answer.Body.ReadAsync(buffer.AsMemory(0, (int)Math.Min(left, buffer.Length)), cancellationToken).ConfigureAwait(false);
                if (count == 0)
                    throw new TransferException($"unexpected EOF before byte {first}") { IsTransient = true };
                left -= count;
            }
            return answer.OwnedBody();
        }
        catch
        {
            answer.Dispose();
            throw;
        }
    }
}
