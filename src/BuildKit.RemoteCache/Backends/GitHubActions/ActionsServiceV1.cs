using System.Globalization;
using BuildKit.Oci;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>The first version of the cache service: bytes go through the service itself, in pieces (spec 04 §8.4, golden
/// <c>http-gha-v1</c>).</summary>
internal sealed class ActionsServiceV1(ActionsApi api, string url) : IActionsService
{
    private const long ChunkSize = 32L << 20;
    private const int ChunksAtOnce = 4;

    private static readonly KeyValuePair<string, string> Accept = new("Accept", "application/json;api-version=6.0-preview.1");

    private readonly string _base = url + "_apis/artifactcache/";

    public Task<ActionsEntry?> FindAsync(string key, CancellationToken cancellationToken)
    {
        var request = new StoreRequest(HttpMethod.Get, $"{_base}cache?keys={FormEncode(key)}&version={ActionsApi.Version}") { Headers = [Accept] };
        return api.CallAsync(request, static body =>
        {
            if (body.Length == 0)
                return null;
            var answer = ActionsJson.Parse(body);
            return answer.Text("cacheKey") is { Length: > 0 } found ? new ActionsEntry(found, answer.Text("archiveLocation")) : null;
        }, cancellationToken);
    }

    public Task<ActionsReservation> ReserveAsync(string key, CancellationToken cancellationToken)
    {
        return api.ReserveAsync(key, Post("caches", ActionsApi.KeyBody(key)), body =>
        {
            var id = ActionsJson.Parse(body).Number("cacheId");
            return id != 0 ? new ActionsReservation(key, Text(id)) : throw new TransferException($"invalid response {ActionsJson.Shown(body)}");
        }, cancellationToken);
    }

    public async Task UploadAsync(ActionsReservation reservation, ActionsContent content, CancellationToken cancellationToken)
    {
        var sent = 0L;
        var options = new ParallelOptions { MaxDegreeOfParallelism = ChunksAtOnce, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(TransferPart.Cut(content.Size, ChunkSize, int.MaxValue), options, async (chunk, token) =>
        {
            var request = new StoreRequest(HttpMethod.Patch, $"{_base}caches/{reservation.Target}")
            {
                Headers =
                [
                    Accept,
                    new("Content-Range", $"bytes {Text(chunk.Offset)}-{Text(chunk.Offset + chunk.Size - 1)}/*"),
                    new("Content-Type", "application/octet-stream"),
                    new("Transfer-Encoding", "chunked"),
                ],
                Body = new StoreBody(chunk.Size, stop => content.OpenAsync(chunk.Offset, stop)),
            };
            await api.CallAsync(request, static _ => true, token).ConfigureAwait(false);
            content.Progress?.Report(Interlocked.Add(ref sent, chunk.Size));
        }).ConfigureAwait(false);
    }

    public async Task CommitAsync(ActionsReservation reservation, long size, CancellationToken cancellationToken)
    {
        try
        {
            var body = ActionsJson.Write(members =>
            {
                members.WriteName("size");
                members.WriteNumber(size);
            });
            await api.CommitAsync(reservation.Key, Post($"caches/{reservation.Target}", body), static _ => true, FindAsync, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e)
        {
            throw e.WithMessage($"error committing cache {reservation.Target}: {e.Message}");
        }
    }

    public Task<byte[]> ReadAsync(ActionsEntry entry, CancellationToken cancellationToken) => api.ReadAsync(entry, FindAsync, cancellationToken);

    public Stream Open(ActionsEntry entry, long offset, long size) => api.Open(entry, offset, size, FindAsync);

    private StoreRequest Post(string path, StoreBody body) =>
        new(HttpMethod.Post, _base + path) { Headers = [Accept, new("Content-Type", "application/json")], Body = body };

    private static string FormEncode(string text) => UrlEncoding.Encode(text, "").Replace("%20", "+", StringComparison.Ordinal);

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
