using System.Collections.Concurrent;
using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>An object store in memory that believes everyone: enough of S3 and of the blob service for a cache. Keys are raw paths.</summary>
internal sealed class MemoryStore : IAsyncDisposable
{
    private StubServer _server = null!;

    public ConcurrentDictionary<string, byte[]> Objects { get; } = new(StringComparer.Ordinal);

    /// <summary>Authorization headers seen.</summary>
    public ConcurrentQueue<string> Authorizations { get; } = new();

    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Answers instead of the store when it returns true.</summary>
    public Func<HttpContext, Task<bool>> Before { get; set; } = _ => Task.FromResult(false);

    /// <summary>Writes are refused when their <c>If-Match</c> or <c>If-None-Match</c> is not met; else such headers mean nothing.</summary>
    public bool KnowsConditions { get; set; }

    /// <summary>How much older all objects say they are.</summary>
    public TimeSpan Age { get; set; }

    /// <summary>Clock of the objects' times.</summary>
    public TimeProvider Time { get; set; } = TimeProvider.System;

    private readonly ConcurrentDictionary<string, DateTimeOffset> _changed = new(StringComparer.Ordinal);

    private string Changed(string key)
    {
        var now = Time.GetUtcNow();
        return (_changed.GetOrAdd(key, now) - Age).ToString("R");
    }

    private readonly Lock _writing = new();

    public string Host => _server.Host;

    public static async Task<MemoryStore> StartAsync()
    {
        var store = new MemoryStore();
        store._server = await StubServer.StartAsync((context, _) => store.AnswerAsync(context));
        return store;
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    private async Task AnswerAsync(HttpContext context)
    {
        var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
        var path = target.Split('?')[0];
        var request = context.Request;
        Requests.Enqueue($"{request.Method} {target}");
        Authorizations.Enqueue($"{request.Headers.Authorization} {request.Headers["x-amz-security-token"]}".Trim());
        if (await Before(context))
            return;
        context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = null;
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        if (target.EndsWith("?restype=container", StringComparison.Ordinal))
        {
            context.Status(request.Method == "PUT" ? 201 : 200);
        }
        else if (request.Method == "POST" && request.QueryString.Value == "?uploads=")
        {
            await context.Response.WriteAsync("<InitiateMultipartUploadResult><UploadId>U/1</UploadId></InitiateMultipartUploadResult>");
        }
        else if (request.Method == "POST")
        {
            var parts = Objects.Keys.Where(k => k.StartsWith(path + "#", StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToList();
            Objects[path] = [.. parts.SelectMany(k => Objects[k])];
            parts.ForEach(k => Objects.TryRemove(k, out _));
            await context.Response.WriteAsync("<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>");
        }
        else if (request.Method == "DELETE")
        {
            if (request.Headers.IfUnmodifiedSince is [{ } unmodified] && Objects.ContainsKey(path) && DateTimeOffset.Parse(Changed(path), System.Globalization.CultureInfo.InvariantCulture) > DateTimeOffset.Parse(unmodified, System.Globalization.CultureInfo.InvariantCulture))
            {
                context.Status(412);
                return;
            }
            foreach (var part in Objects.Keys.Where(k => k == path || k.StartsWith(path + "#", StringComparison.Ordinal)))
                Objects.TryRemove(part, out _);
            context.Status(204);
        }
        else if (request.Query["comp"] == "list")
        {
            var root = path.TrimEnd('/') + "/";
            var found = Objects.Keys.Where(key => Uri.UnescapeDataString(key).StartsWith(root + request.Query["prefix"], StringComparison.Ordinal)).Order(StringComparer.Ordinal)
                .Select(key => $"<Blob><Name>{Uri.UnescapeDataString(key)[root.Length..]}</Name><Properties><Last-Modified>{Changed(key)}</Last-Modified><Content-Length>{Objects[key].Length}</Content-Length></Properties></Blob>");
            await context.Response.WriteAsync($"<EnumerationResults><Blobs>{string.Concat(found)}</Blobs></EnumerationResults>");
        }
        else if (request.Query["list-type"] == "2")
        {
            var root = path.TrimEnd('/') + "/";
            var found = Objects.Where(o => Uri.UnescapeDataString(o.Key).StartsWith(root + request.Query["prefix"], StringComparison.Ordinal)).OrderBy(o => o.Key, StringComparer.Ordinal)
                .Select(o => $"<Contents><Key>{Uri.UnescapeDataString(o.Key)[root.Length..]}</Key><LastModified>{Changed(o.Key)}</LastModified><Size>{o.Value.Length}</Size></Contents>");
            await context.Response.WriteAsync($"<ListBucketResult>{string.Concat(found)}</ListBucketResult>");
        }
        else if (request.Method == "PUT" && (request.Query["comp"] == "metadata" || request.Headers.ContainsKey("x-amz-copy-source")))
        {
            if (Objects.ContainsKey(path))
            {
                _changed[path] = Time.GetUtcNow();
                await context.Response.WriteAsync("<CopyObjectResult></CopyObjectResult>");
                return;
            }
            context.Response.Headers["x-ms-error-code"] = "BlobNotFound";
            context.Status(404);
        }
        else if (request.Method == "PUT")
        {
            var query = request.Query;
            var key = query.ContainsKey("partNumber") ? $"{path}#{int.Parse(query["partNumber"]!, System.Globalization.CultureInfo.InvariantCulture):D5}"
                : query["comp"] == "block" ? $"{path}#{query["blockid"]}" : path;
            if (query["comp"] == "blocklist")
                Objects[path] = [.. Regex.Matches(Encoding.UTF8.GetString(body.ToArray()), "<Latest>(.*?)</Latest>").SelectMany(id => Objects[$"{path}#{id.Groups[1].Value}"])];
            else if (!TryWrite(request, key, body.ToArray()))
            {
                context.Status(412);
                return;
            }
            context.Response.Headers.ETag = "\"e\"";
            context.Status(request.Headers.ContainsKey("x-ms-version") ? 201 : 200);
        }
        else if (!Objects.TryGetValue(path, out var bytes))
        {
            context.Response.Headers["x-ms-error-code"] = "BlobNotFound";
            context.Status(404);
            if (request.Method != "HEAD")
                await context.Response.WriteAsync("<Error><Code>NoSuchKey</Code><Message>none</Message></Error>");
        }
        else
        {
            context.Response.Headers.ETag = Tag(bytes);
            context.Response.Headers.LastModified = Changed(path);
            var range = $"{request.Headers.Range}{request.Headers["x-ms-range"]}";
            var from = range.Length > 0 ? int.Parse(range["bytes=".Length..].TrimEnd('-'), System.Globalization.CultureInfo.InvariantCulture) : 0;
            context.Response.ContentLength = bytes.Length - from;
            if (range.Length > 0)
            {
                context.Status(206);
                context.Response.Headers.ContentRange = $"bytes {from}-{bytes.Length - 1}/{bytes.Length}";
            }
            if (request.Method == "GET")
                await context.Response.Body.WriteAsync(bytes.AsMemory(from));
        }
    }

    private bool TryWrite(HttpRequest request, string key, byte[] bytes)
    {
        lock (_writing)
        {
            var there = Objects.GetValueOrDefault(key);
            if (KnowsConditions && ((request.Headers.IfMatch.Count > 0 && (there is null || request.Headers.IfMatch != Tag(there))) || (request.Headers.IfNoneMatch == "*" && there is not null)))
                return false;
            Objects[key] = bytes;
            _changed[key] = Time.GetUtcNow();
            return true;
        }
    }

    private static string Tag(byte[] bytes) => $"\"{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes))[..32]}\"";
}
