using System.Globalization;
using System.Text;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>The requests a cache sends to a container of the blob service (spec 04 §8.6, golden <c>http-azblob</c>). Safe for
/// concurrent use.</summary>
internal sealed class AzureBlobClient(StoreConnection store, string accountUrl, string container)
{
    /// <summary>Size of a block in bytes; smaller blobs go in one request.</summary>
    public const long BlockSize = 32L << 20;

    private const int BlocksAtOnce = 4;
    private const int MostBlocks = 50_000;
    private const string OctetStream = "application/octet-stream";

    private static readonly KeyValuePair<string, string> OnlyNew = new("If-None-Match", "*");

    private readonly string _url = $"{accountUrl}/{container}";

    /// <summary>Makes sure the container is there.</summary>
    public async Task PrepareAsync(CancellationToken cancellationToken)
    {
        var url = _url + "?restype=container";
        try
        {
            await store.RunAsync(new StoreRequest(HttpMethod.Get, url), cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Code == "ContainerNotFound")
        {
            await CreateAsync(url, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to get properties of cache container {container}: {e.Message}");
        }
    }

    /// <summary>Whether a blob is there.</summary>
    public async Task<bool> ExistsAsync(string name, CancellationToken cancellationToken) => await FindAsync(name, cancellationToken).ConfigureAwait(false) is not null;

    /// <summary>When a blob was last changed, or null when it is not there.</summary>
    public async Task<DateTimeOffset?> FindAsync(string name, CancellationToken cancellationToken)
    {
        try
        {
            using var answer = await store.SendAsync(new StoreRequest(HttpMethod.Head, Blob(name)), cancellationToken).ConfigureAwait(false);
            return answer.Response.Content.Headers.LastModified ?? store.Time.GetUtcNow();
        }
        catch (TransferException e) when (e.Code == "BlobNotFound")
        {
            return null;
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to check blob {name} existence: {e.Message}");
        }
    }

    /// <summary>Makes a blob young by giving it metadata; false when it is gone.</summary>
    public async Task<bool> TouchAsync(string name, CancellationToken cancellationToken)
    {
        try
        {
            var now = store.Time.GetUtcNow().ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
            await store.RunAsync(new StoreRequest(HttpMethod.Put, Blob(name) + "?comp=metadata") { Headers = [new("x-ms-meta-usedat", now)] }, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (TransferException e) when (e.Code == "BlobNotFound")
        {
            return false;
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to touch blob {name}: {e.Message}");
        }
    }

    /// <summary>A small blob's bytes.</summary>
    public Task<byte[]> ReadAsync(string name, CancellationToken cancellationToken) =>
        store.ReadAsync(new StoreRequest(HttpMethod.Get, Blob(name)), static (_, bytes) => bytes, cancellationToken);

    /// <summary>A small blob's bytes and the tag of its state, or null when it is not there.</summary>
    public async Task<(byte[] Bytes, string ETag)?> ReadTaggedAsync(string name, CancellationToken cancellationToken)
    {
        try
        {
            return await store.ReadAsync<(byte[], string)?>(
                new StoreRequest(HttpMethod.Get, Blob(name)),
                static (response, bytes) => (bytes, response.Headers.NonValidated.TryGetValues("ETag", out var tag) ? tag.ToString() : ""), cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Code == "BlobNotFound")
        {
            return null;
        }
    }

    /// <summary>Writes a small blob if its state still is the given one.</summary>
    /// <param name="name">The blob.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="etag">Tag of the state it must have; null when it must not be there.</param>
    /// <param name="cancellationToken">Ends the upload.</param>
    /// <returns>Whether it was written.</returns>
    public async Task<bool> TryReplaceAsync(string name, byte[] bytes, string? etag, CancellationToken cancellationToken)
    {
        try
        {
            await store.RunAsync(Put(name, StoreBody.Of(bytes), etag is null ? OnlyNew : new("If-Match", etag)), cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (TransferException e) when (e.Status == 412 || e.Code is "BlobAlreadyExists" or "ConditionNotMet")
        {
            return false;
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to upload blob {name}: {e.Message}");
        }
    }

    /// <summary>All blobs whose names begin so.</summary>
    public async Task<IReadOnlyList<ListedObject>> ListAsync(string prefix, CancellationToken cancellationToken)
    {
        List<ListedObject> found = [];
        var next = "";
        do
        {
            var marker = next.Length > 0 ? $"&marker={Uri.EscapeDataString(next)}" : "";
            var page = await store.ReadAsync(
                new StoreRequest(HttpMethod.Get, $"{_url}?comp=list{marker}&prefix={Uri.EscapeDataString(prefix)}&restype=container"),
                static (_, bytes) => StoreListing.Parse(bytes, "Blob", "Name", "Content-Length", "Last-Modified", "NextMarker"), cancellationToken).ConfigureAwait(false);
            found.AddRange(page.Objects);
            next = page.Next;
        }
        while (next.Length > 0);
        return found;
    }

    /// <summary>Removes a blob that was not changed since; one that is not there is success.</summary>
    /// <returns>Whether it is gone.</returns>
    public async Task<bool> DeleteAsync(string name, DateTimeOffset modified, CancellationToken cancellationToken)
    {
        try
        {
            await store.RunAsync(new StoreRequest(HttpMethod.Delete, Blob(name)) { Headers = [new("If-Unmodified-Since", modified.ToString("R", CultureInfo.InvariantCulture))] }, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (TransferException e) when (e.Code == "BlobNotFound")
        {
            return true;
        }
        catch (TransferException e) when (e.Status == 412)
        {
            return false;
        }
    }

    /// <summary>Opens a blob at an offset; see <see cref="StoreDownload.Open"/>.</summary>
    public Stream Open(string name, long offset, long size) =>
        StoreDownload.Open(store, new StoreRequest(HttpMethod.Get, Blob(name)), "x-ms-range", offset, size);

    /// <summary>Writes a small blob, replacing what was there.</summary>
    public Task ReplaceAsync(string name, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
        UploadAsync(name, () => store.RunAsync(Put(name, StoreBody.Of(bytes)), cancellationToken));

    /// <summary>Writes a blob unless it is there by now; one that does not fit into a block in several, some at once, each streamed
    /// from its source.</summary>
    /// <param name="name">The blob.</param>
    /// <param name="open">Opens its bytes at an offset.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <param name="progress">Receives the bytes sent so far.</param>
    /// <param name="cancellationToken">Ends the upload.</param>
    public Task CreateAsync(string name, Func<long, CancellationToken, ValueTask<Stream>> open, long size, IProgress<long>? progress, CancellationToken cancellationToken) =>
        UploadAsync(name, async () =>
        {
            try
            {
                if (size < BlockSize)
                    await store.RunAsync(Put(name, new StoreBody(size, token => open(0, token)) { Progress = progress }, OnlyNew), cancellationToken).ConfigureAwait(false);
                else
                    await CreateInBlocksAsync(name, open, size, progress, cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e) when (e.Code == "BlobAlreadyExists")
            {
                // Someone else wrote the same bytes.
            }
        });

    private async Task CreateInBlocksAsync(
        string name, Func<long, CancellationToken, ValueTask<Stream>> open, long size, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        // Block ids of an upload of our own: another one of the same blob does not mix with it.
        var upload = Guid.NewGuid().ToString("N");
        string IdOf(TransferPart block) => Convert.ToBase64String(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{upload}{block.Number - 1:D6}")));
        var blocks = TransferPart.Cut(size, BlockSize, MostBlocks);
        var sent = 0L;
        var options = new ParallelOptions { MaxDegreeOfParallelism = BlocksAtOnce, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(blocks, options, async (block, token) =>
        {
            var body = new StoreBody(block.Size, stop => open(block.Offset, stop));
            await store.RunAsync(new StoreRequest(HttpMethod.Put, $"{Blob(name)}?blockid={Uri.EscapeDataString(IdOf(block))}&comp=block")
            {
                Headers = [new("Content-Type", OctetStream)],
                Body = body,
            }, token).ConfigureAwait(false);
            progress?.Report(Interlocked.Add(ref sent, block.Size));
        }).ConfigureAwait(false);
        await store.RunAsync(new StoreRequest(HttpMethod.Put, Blob(name) + "?comp=blocklist") { Headers = [new("Content-Type", "application/xml"), OnlyNew], Body = BlockList(blocks.Select(IdOf)) }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The document that makes a blob of its blocks.</summary>
    public static StoreBody BlockList(IEnumerable<string> ids)
    {
        var list = new StringBuilder("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<BlockList>");
        foreach (var id in ids)
            list.Append("<Latest>").Append(id).Append("</Latest>");
        return StoreBody.Of(Encoding.UTF8.GetBytes(list.Append("</BlockList>").ToString()));
    }

    private async Task CreateAsync(string url, CancellationToken cancellationToken)
    {
        try
        {
            await store.RunAsync(new StoreRequest(HttpMethod.Put, url), cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Code == "ContainerAlreadyExists")
        {
            // Another daemon was faster.
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to create cache container {container}: {e.Message}");
        }
    }

    private StoreRequest Put(string name, StoreBody body, params ReadOnlySpan<KeyValuePair<string, string>> more) =>
        new(HttpMethod.Put, Blob(name)) { Headers = [new("Content-Type", OctetStream), new("x-ms-blob-type", "BlockBlob"), .. more], Body = body };

    private static async Task UploadAsync(string name, Func<Task> upload)
    {
        try
        {
            await upload().ConfigureAwait(false);
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"failed to upload blob {name}: {e.Message}");
        }
    }

    /// <summary>URL of a blob: its name is one segment, slashes escaped.</summary>
    private string Blob(string name) => $"{_url}/{UrlEncoding.Encode(name, "$&+=:@")}";
}
