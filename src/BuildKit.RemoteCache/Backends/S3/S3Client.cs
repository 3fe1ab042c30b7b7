using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>What is known of an object without reading it. Size in bytes; null when the store did not say.</summary>
internal readonly record struct S3Object(DateTimeOffset LastModified, long? Size);

/// <summary>The requests a cache sends to a bucket (spec 04 §8.5, golden <c>http-s3</c>). Safe for concurrent use.</summary>
internal sealed class S3Client(StoreConnection store, S3Endpoint endpoint, string bucket, PartBuffers buffers)
{
    /// <summary>Size of a part of a multipart upload in bytes; smaller objects go in one request.</summary>
    public const long PartSize = 5L << 20;

    private const int PartsAtOnce = 5;
    private const int MostParts = 10_000;
    private const long LargestCopy = 5L << 30;
    private const string OctetStream = "application/octet-stream";

    // Stores may copy or join many gigabytes before they answer.
    private static readonly TimeSpan SlowAnswer = TimeSpan.FromMinutes(10);

    /// <summary>An object's age and size, or null when it is not there.</summary>
    public async Task<S3Object?> HeadAsync(string key, CancellationToken cancellationToken)
    {
        try
        {
            using var answer = await store.SendAsync(Request(HttpMethod.Head, "HeadObject", key, ""), cancellationToken).ConfigureAwait(false);
            var headers = answer.Response.Content.Headers;
            return new S3Object(headers.LastModified ?? store.Time.GetUtcNow(), headers.ContentLength);
        }
        catch (TransferException e) when (e.Status == 404)
        {
            return null;
        }
    }

    /// <summary>A small object's bytes, or null when it is not there. A missing bucket is an error.</summary>
    public async Task<byte[]?> ReadAsync(string key, CancellationToken cancellationToken)
    {
        try
        {
            return await store.ReadAsync(Request(HttpMethod.Get, "GetObject", key, "x-id=GetObject"), static (_, bytes) => bytes, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Status == 404 && e.Code is "NoSuchKey" or "NotFound")
        {
            return null;
        }
    }

    /// <summary>A small object's bytes and the tag of its state, or null when it is not there.</summary>
    public async Task<(byte[] Bytes, string ETag)?> ReadTaggedAsync(string key, CancellationToken cancellationToken)
    {
        try
        {
            return await store.ReadAsync<(byte[], string)?>(
                Request(HttpMethod.Get, "GetObject", key, "x-id=GetObject"),
                static (response, bytes) => (bytes, response.Headers.NonValidated.TryGetValues("ETag", out var tag) ? tag.ToString() : ""), cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Status == 404 && e.Code is "NoSuchKey" or "NotFound")
        {
            return null;
        }
    }

    /// <summary>Writes a small object if its state still is the given one.</summary>
    /// <param name="key">The object.</param>
    /// <param name="bytes">Its bytes.</param>
    /// <param name="etag">Tag of the state it must have; null when it must not be there.</param>
    /// <param name="cancellationToken">Ends the upload.</param>
    /// <returns>Whether it was written. Stores that know no conditions write always.</returns>
    public async Task<bool> TryPutAsync(string key, byte[] bytes, string? etag, CancellationToken cancellationToken)
    {
        try
        {
            var request = Request(HttpMethod.Put, "PutObject", key, "x-id=PutObject",
                [new("Content-Type", OctetStream), etag is null ? new("If-None-Match", "*") : new("If-Match", etag)]);
            await store.RunAsync(request with { Body = StoreBody.Of(bytes) }, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (TransferException e) when (e.Status is 409 or 412 || (e.Status == 404 && e.Code is "NoSuchKey" or "NotFound"))
        {
            return false;
        }
    }

    /// <summary>All objects whose keys begin so.</summary>
    public async Task<IReadOnlyList<ListedObject>> ListAsync(string prefix, CancellationToken cancellationToken)
    {
        List<ListedObject> found = [];
        var next = "";
        do
        {
            var query = $"{(next.Length > 0 ? $"continuation-token={UrlEncoding.Encode(next, "")}&" : "")}list-type=2&prefix={UrlEncoding.Encode(prefix, "")}";
            var request = new StoreRequest(HttpMethod.Get, endpoint.Bucket(query)) { Operation = "operation error S3: ListObjectsV2" };
            var page = await store.ReadAsync(
                request, static (_, bytes) => StoreListing.Parse(bytes, "Contents", "Key", "Size", "LastModified", "NextContinuationToken"), cancellationToken).ConfigureAwait(false);
            found.AddRange(page.Objects);
            next = page.Next;
        }
        while (next.Length > 0);
        return found;
    }

    /// <summary>Removes an object; one that is not there is success.</summary>
    public Task DeleteAsync(string key, CancellationToken cancellationToken) =>
        store.RunAsync(Request(HttpMethod.Delete, "DeleteObject", key, "x-id=DeleteObject"), cancellationToken);

    /// <summary>Opens an object at an offset; see <see cref="StoreDownload.Open"/>.</summary>
    public Stream Open(string key, long offset, long size) =>
        StoreDownload.Open(store, Request(HttpMethod.Get, "GetObject", key, "x-id=GetObject"), "Range", offset, size);

    /// <summary>Writes an object in one request, replacing what was there.</summary>
    public Task PutAsync(string key, StoreBody body, CancellationToken cancellationToken) =>
        store.RunAsync(Request(HttpMethod.Put, "PutObject", key, "x-id=PutObject", [new("Content-Type", OctetStream)]) with { Body = body }, cancellationToken);

    /// <summary>Writes an object in parts, several at once, from one reading of its bytes. A failed upload is taken back.</summary>
    /// <param name="key">The object.</param>
    /// <param name="open">Opens its bytes at an offset.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <param name="progress">Receives the bytes stored so far.</param>
    /// <param name="cancellationToken">Ends the upload.</param>
    public Task PutPartsAsync(string key, Func<long, CancellationToken, ValueTask<Stream>> open, long size, IProgress<long>? progress, CancellationToken cancellationToken) =>
        MultipartAsync(key, [], async (uploadId, etags) =>
        {
            var stored = 0L;
            var options = new ParallelOptions { MaxDegreeOfParallelism = PartsAtOnce, CancellationToken = cancellationToken };
            var parts = TransferPart.Cut(size, PartSize, MostParts);
            var source = await open(0, cancellationToken).ConfigureAwait(false);
            await using (source.ConfigureAwait(false))
            {
                // A file is read when its parts are sent. What comes from another store comes once, and is held meanwhile.
                await (source.CanSeek
                    ? Parallel.ForEachAsync(parts, options, async (part, token) => await SendAsync(part, await part.ToBodyAsync(open, token).ConfigureAwait(false), token).ConfigureAwait(false))
                    : Parallel.ForEachAsync(buffers.ReadAsync(source, parts, cancellationToken), options, async (buffer, token) =>
                    {
                        using (buffer)
                            await SendAsync(buffer.Part, buffer.ToBody(hash: true), token).ConfigureAwait(false);
                    })).ConfigureAwait(false);
            }

            async Task SendAsync(TransferPart part, StoreBody body, CancellationToken token)
            {
                var request = Request(HttpMethod.Put, "UploadPart", key, $"partNumber={Number(part.Number)}&uploadId={uploadId}&x-id=UploadPart", [new("Content-Type", OctetStream)]);
                using var answer = await store.SendAsync(request with { Body = body }, token).ConfigureAwait(false);
                etags[part.Number] = answer.Header("ETag");
                progress?.Report(Interlocked.Add(ref stored, part.Size));
            }
        }, cancellationToken);

    /// <summary>Makes an object young again by copying it onto itself; one of 5 GiB or more in pieces.</summary>
    public Task TouchAsync(string key, long size, CancellationToken cancellationToken)
    {
        // Characters that headers can carry stay as they are.
        var source = UrlEncoding.Encode($"{bucket}/{key}", "/:");
        var updated = UpdatedAt(store.Time.GetUtcNow());
        if (size < LargestCopy)
        {
            var request = Request(HttpMethod.Put, "CopyObject", key, "x-id=CopyObject",
                [new("X-Amz-Copy-Source", source), new("X-Amz-Meta-Updated-At", updated), new("X-Amz-Metadata-Directive", "REPLACE")]);
            return store.ReadAsync(request with { Silence = SlowAnswer }, CheckBody, cancellationToken);
        }
        return MultipartAsync(key, [new("X-Amz-Meta-Updated-At", updated)], async (uploadId, etags) =>
        {
            foreach (var part in TransferPart.Cut(size, LargestCopy, MostParts))
            {
                var request = Request(HttpMethod.Put, "UploadPartCopy", key, $"partNumber={Number(part.Number)}&uploadId={uploadId}&x-id=UploadPartCopy",
                    [new("X-Amz-Copy-Source", source), new("X-Amz-Copy-Source-Range", $"bytes={Number(part.Offset)}-{Number(part.Offset + part.Size - 1)}")]);
                var answer = await store.ReadAsync(request with { Silence = SlowAnswer }, CheckBody, cancellationToken).ConfigureAwait(false);
                etags[part.Number] = answer.GetValueOrDefault("ETag") ?? "";
            }
        }, cancellationToken);
    }

    private async Task MultipartAsync(
        string key, IReadOnlyList<KeyValuePair<string, string>> headers, Func<string, ConcurrentDictionary<int, string>, Task> send, CancellationToken cancellationToken)
    {
        var created = await store.ReadAsync(Request(HttpMethod.Post, "CreateMultipartUpload", key, "uploads=", headers), CheckBody, cancellationToken).ConfigureAwait(false);
        var uploadId = UrlEncoding.Encode(
            created.GetValueOrDefault("UploadId") is { Length: > 0 } id ? id : throw new TransferException("operation error S3: CreateMultipartUpload, the answer names no upload"), "");
        try
        {
            var etags = new ConcurrentDictionary<int, string>();
            await send(uploadId, etags).ConfigureAwait(false);
            var parts = new StringBuilder("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
            foreach (var (number, etag) in etags.OrderBy(part => part.Key))
                parts.Append(CultureInfo.InvariantCulture, $"<Part><ETag>{StoreXml.Escape(etag)}</ETag><PartNumber>{number}</PartNumber></Part>");
            var body = StoreBody.Of(Encoding.UTF8.GetBytes(parts.Append("</CompleteMultipartUpload>").ToString()));
            var request = Request(HttpMethod.Post, "CompleteMultipartUpload", key, $"uploadId={uploadId}", [new("Content-Type", "application/xml")]);
            await store.ReadAsync(request with { Body = body, Silence = SlowAnswer }, CheckBody, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await AbortAsync(key, uploadId).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Takes an upload back: its parts would be paid for.</summary>
    private async Task AbortAsync(string key, string uploadId)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30), store.Time);
        try
        {
            await store.RunAsync(Request(HttpMethod.Delete, "AbortMultipartUpload", key, $"uploadId={uploadId}&x-id=AbortMultipartUpload"), limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TransferException or OperationCanceledException)
        {
            // The error that made the upload fail is the one to tell; buckets expire what is left.
        }
    }

    /// <summary>Copies and joins answer 200 before they are done; an error then comes as the document.</summary>
    private static IReadOnlyDictionary<string, string> CheckBody(HttpResponseMessage response, byte[] body)
    {
        var texts = StoreXml.Texts(body);
        return texts.ContainsKey("Error")
            ? throw new TransferException($"api error {texts.GetValueOrDefault("Code")}: {texts.GetValueOrDefault("Message")}")
            {
                Status = (int)response.StatusCode,
                Code = texts.GetValueOrDefault("Code") ?? "",
                IsTransient = texts.GetValueOrDefault("Code") is "InternalError" or "SlowDown" or "ServiceUnavailable",
            }
            : texts;
    }

    private StoreRequest Request(HttpMethod method, string operation, string key, string query, IReadOnlyList<KeyValuePair<string, string>>? headers = null) =>
        new(method, endpoint.Object(key, query)) { Operation = "operation error S3: " + operation, Headers = headers ?? [] };

    /// <summary>A time as the reference writes it, in UTC.</summary>
    private static string UpdatedAt(DateTimeOffset now) =>
        now.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.fffffff", CultureInfo.InvariantCulture).TrimEnd('0').TrimEnd('.') + " +0000 UTC";

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
