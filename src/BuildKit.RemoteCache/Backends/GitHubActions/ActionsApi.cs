using BuildKit.Oci;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>Calls to the cache service, and reading what it stored elsewhere: what both of its versions share.</summary>
internal sealed class ActionsApi(StoreConnection api, StoreConnection blobs, string rangeHeader, ActionsRateLimit limit, TimeSpan timeout)
{
    /// <summary>Stands for how entries are made: the service finds only those of the same one. A hash over a constant, as the
    /// original has it.</summary>
    public const string Version = "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2";

    /// <summary>Where uploads to and downloads from signed addresses go.</summary>
    public StoreConnection Blobs => blobs;

    /// <summary>Calls the service.</summary>
    /// <param name="request">The call.</param>
    /// <param name="read">Makes something of the answer.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<T> CallAsync<T>(StoreRequest request, Func<byte[], T> read, CancellationToken cancellationToken) =>
        limit.RunAsync(token => api.ReadAsync(request, (_, body) => read(body), token), timeout, api.Time, cancellationToken);

    /// <summary>Calls the service to reserve an entry. When an answer was lost and the entry then "exists already", the first
    /// call made it and nobody will upload it: that is another error.</summary>
    public async Task<T> ReserveAsync<T>(string key, StoreRequest request, Func<byte[], T> read, CancellationToken cancellationToken)
    {
        TransferException? lost = null;
        try
        {
            return await CallAsync(request with { OnFailure = e => lost = e.IsTransient ? e : lost }, read, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Code == ActionsProtocol.AlreadyExists && lost is not null)
        {
            throw new TransferException($"entry {key} may be reserved by an earlier attempt whose answer was lost: {lost.Message}", e) { Status = e.Status, Code = LostReservation };
        }
    }

    /// <summary>Code of the error that an entry is reserved, perhaps by ourselves.</summary>
    public const string LostReservation = "LostReservation";

    /// <summary>Calls the service to commit an entry. When an answer was lost and the next attempt fails, the first may have done it.</summary>
    public async Task CommitAsync(string key, StoreRequest request, Func<byte[], bool> read, Func<string, CancellationToken, Task<ActionsEntry?>> find, CancellationToken cancellationToken)
    {
        var lost = false;
        try
        {
            await CallAsync(request with { OnFailure = e => lost |= e.IsTransient }, read, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (lost && !e.IsTransient)
        {
            if ((await find(key, cancellationToken).ConfigureAwait(false))?.Key != key)
                throw;
        }
    }

    /// <summary>All bytes of an entry. Its address is valid for a while only: when it is refused, it is asked for once more.</summary>
    public async Task<byte[]> ReadAsync(ActionsEntry entry, Func<string, CancellationToken, Task<ActionsEntry?>> find, CancellationToken cancellationToken)
    {
        try
        {
            return await ReadOnceAsync(entry).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Status is 401 or 403 or 404)
        {
            // Not there any more: another job replaced it, or the service evicted it, since it was found.
            return await ReadOnceAsync(await find(entry.Key, cancellationToken).ConfigureAwait(false) ?? throw Gone(entry, e)).ConfigureAwait(false);
        }

        Task<byte[]> ReadOnceAsync(ActionsEntry found) =>
            blobs.ReadAsync(new StoreRequest(HttpMethod.Get, found.Url), static (_, bytes) => bytes, cancellationToken);
    }

    /// <summary>Opens an entry. Its address is valid for a while only: when it is refused, it is asked for once more, and again when
    /// bytes came in between.</summary>
    public Stream Open(ActionsEntry entry, long offset, long size, Func<string, CancellationToken, Task<ActionsEntry?>> find)
    {
        var renewedAt = -1L;
        return StoreDownload.Open(blobs, OpenAtAsync, offset, size);

        async Task<Stream> OpenAtAsync(long position, CancellationToken cancellationToken)
        {
            try
            {
                return await StoreDownload.OpenAtAsync(blobs, new StoreRequest(HttpMethod.Get, entry.Url), rangeHeader, position, cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e) when (e.Status is 401 or 403 && renewedAt < position)
            {
                renewedAt = position;
                entry = await find(entry.Key, cancellationToken).ConfigureAwait(false) ?? throw Gone(entry, e);
            }
            return await StoreDownload.OpenAtAsync(blobs, new StoreRequest(HttpMethod.Get, entry.Url), rangeHeader, position, cancellationToken).ConfigureAwait(false);
        }
    }

    private static TransferException Gone(ActionsEntry entry, Exception inner) => new($"cache entry {entry.Key} no longer exists", inner) { Status = 404 };

    /// <summary>The body that names an entry.</summary>
    public static StoreBody KeyBody(string key) => ActionsJson.Write(body =>
    {
        body.WriteText("key", key);
        body.WriteText("version", Version);
    });
}
