using System.Buffers.Binary;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>The second version of the cache service: it gives signed addresses in Azure's blob service (spec 04 §8.4, golden
/// <c>http-gha-v2</c>).</summary>
internal sealed class ActionsServiceV2(ActionsApi api, string url, PartBuffers buffers) : IActionsService
{
    private const long BlockSize = 1L << 20;
    private const int BlocksAtOnce = 4;
    private const int MostBlocks = 50_000;
    private const int BlockIdSize = 64;
    private const string OctetStream = "application/octet-stream";

    private readonly string _base = url + "twirp/github.actions.results.api.v1.CacheService/";

    public Task<ActionsEntry?> FindAsync(string key, CancellationToken cancellationToken)
    {
        var body = ActionsJson.Write(members =>
        {
            members.WriteText("key", key);
            members.WriteStrings("restore_keys", [key]);
            members.WriteText("version", ActionsApi.Version);
        });
        return api.CallAsync(Call("GetCacheEntryDownloadURL", body), static bytes =>
        {
            var answer = ActionsJson.Parse(bytes);
            return answer.IsTrue("ok") ? new ActionsEntry(answer.Text("matched_key"), answer.Text("signed_download_url")) : null;
        }, cancellationToken);
    }

    public Task<ActionsReservation> ReserveAsync(string key, CancellationToken cancellationToken) =>
        api.ReserveAsync(key, Call("CreateCacheEntry", ActionsApi.KeyBody(key)), bytes =>
        {
            var answer = ActionsJson.Parse(bytes);
            return answer.IsTrue("ok") ? new ActionsReservation(key, answer.Text("signed_upload_url")) : throw new TransferException("failed to reserve cache");
        }, cancellationToken);

    public async Task UploadAsync(ActionsReservation reservation, ActionsContent content, CancellationToken cancellationToken)
    {
        if (content.Size >= BlockSize)
        {
            await UploadBlocksAsync(reservation.Target, content, cancellationToken).ConfigureAwait(false);
            return;
        }
        await api.Blobs.RunAsync(new StoreRequest(HttpMethod.Put, reservation.Target)
        {
            Headers = [new("Content-Type", OctetStream), new("x-ms-blob-type", "BlockBlob")],
            Body = new StoreBody(content.Size, token => content.OpenAsync(0, token)) { Progress = content.Progress },
        }, cancellationToken).ConfigureAwait(false);
    }

    public async Task CommitAsync(ActionsReservation reservation, long size, CancellationToken cancellationToken)
    {
        var body = ActionsJson.Write(members =>
        {
            members.WriteText("key", reservation.Key);
            members.WriteName("size_bytes");
            members.WriteNumber(size);
            members.WriteText("version", ActionsApi.Version);
        });
        await api.CommitAsync(
            reservation.Key, Call("FinalizeCacheEntryUpload", body),
            static bytes => ActionsJson.Parse(bytes).IsTrue("ok") ? true : throw new TransferException("failed to commit cache"),
            FindAsync, cancellationToken).ConfigureAwait(false);
    }

    public Task<byte[]> ReadAsync(ActionsEntry entry, CancellationToken cancellationToken) => api.ReadAsync(entry, FindAsync, cancellationToken);

    public Stream Open(ActionsEntry entry, long offset, long size) => api.Open(entry, offset, size, FindAsync);

    private async Task UploadBlocksAsync(string target, ActionsContent content, CancellationToken cancellationToken)
    {
        var upload = Guid.NewGuid();
        var parts = TransferPart.Cut(content.Size, BlockSize, MostBlocks);
        var source = await content.OpenAsync(0, cancellationToken).ConfigureAwait(false);
        await using (source.ConfigureAwait(false))
        {
            var sent = 0L;
            var options = new ParallelOptions { MaxDegreeOfParallelism = BlocksAtOnce, CancellationToken = cancellationToken };
            await Parallel.ForEachAsync(buffers.ReadAsync(source, parts, cancellationToken), options, async (block, token) =>
            {
                using (block)
                {
                    var request = new StoreRequest(HttpMethod.Put, WithQuery(target, $"blockid={Uri.EscapeDataString(BlockId(upload, block.Part))}", "comp=block"))
                    {
                        Headers = [new("Content-Type", OctetStream)],
                        Body = block.ToBody(hash: false),
                    };
                    await api.Blobs.RunAsync(request, token).ConfigureAwait(false);
                    content.Progress?.Report(Interlocked.Add(ref sent, block.Part.Size));
                }
            }).ConfigureAwait(false);
        }
        await api.Blobs.RunAsync(new StoreRequest(HttpMethod.Put, WithQuery(target, "comp=blocklist"))
        {
            Headers = [new("Content-Type", "application/xml")],
            Body = AzureBlobClient.BlockList(parts.Select(part => BlockId(upload, part))),
        }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Id of a block of one upload: another upload of the same entry does not mix with it.</summary>
    private static string BlockId(Guid upload, TransferPart part)
    {
        Span<byte> id = stackalloc byte[BlockIdSize];
        id.Clear();
        upload.TryWriteBytes(id, bigEndian: true, out var length);
        BinaryPrimitives.WriteInt32BigEndian(id[length..], part.Number - 1);
        return Convert.ToBase64String(id);
    }

    /// <summary>A signed address with more in its query, sorted by name; what is there stays as it is written, the signature too.</summary>
    private static string WithQuery(string url, params ReadOnlySpan<string> more)
    {
        var parts = url.Split('?', 2);
        var query = parts.Length > 1 ? parts[1].Split('&', StringSplitOptions.RemoveEmptyEntries) : [];
        return parts[0] + "?" + string.Join('&', query.Concat(more.ToArray()).OrderBy(pair => pair.Split('=')[0], StringComparer.Ordinal));
    }

    private StoreRequest Call(string method, StoreBody body) =>
        new(HttpMethod.Post, _base + method) { Headers = [new("Content-Type", "application/json")], Body = body };
}
