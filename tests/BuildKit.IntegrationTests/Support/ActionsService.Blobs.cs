using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Http;

namespace BuildKit.IntegrationTests.Support;

// The bytes behind signed addresses: of version 1 plain, of version 2 as Azure's blob service has them.
public sealed partial class ActionsService
{
    private const string ArchivePath = "/archives/";
    private const string BlobPath = "/actions/cache/";

    private readonly ConcurrentDictionary<string, bool> _signatures = new(StringComparer.Ordinal);

    private string Sign(HttpContext context, string path, Entry entry, string permission)
    {
        // Signatures are base64: characters that must stay as they are written.
        var signature = Convert.ToBase64String(System.Security.Cryptography.RandomNumberGenerator.GetBytes(32));
        _signatures[$"{path}{entry.Id} {permission} {signature}"] = true;
        return $"http://{context.Request.Host}{path}{entry.Id}?se=2099-01-01T00%3A00%3A00Z&sig={Uri.EscapeDataString(signature)}&sp={permission}&spr=https";
    }

    private bool IsSigned(HttpContext context, string permission) =>
        _signatures.ContainsKey($"{context.Request.Path} {permission} {context.Request.Query["sig"]}") && context.Request.Query["sp"] == permission;

    private Task AnswerArchiveAsync(HttpContext context, int id)
    {
        if (!IsSigned(context, "r"))
        {
            context.Response.StatusCode = 403;
            return Task.CompletedTask;
        }
        return SendAsync(context, Get(id) is { IsCommitted: true } entry ? entry.Bytes : null, context.Request.Headers.Range.ToString());
    }

    private async Task AnswerBlobAsync(HttpContext context, int id)
    {
        var request = context.Request;
        var headers = context.Response.Headers;
        headers["x-ms-request-id"] = Guid.NewGuid().ToString();
        headers["x-ms-version"] = request.Headers["x-ms-version"];
        var isRead = request.Method is "GET" or "HEAD";
        if (!IsSigned(context, isRead ? "r" : "w"))
        {
            await AzureErrorAsync(context, 403, "AuthenticationFailed", "Server failed to authenticate the request.");
            return;
        }
        var entry = Get(id);
        if (isRead)
        {
            headers["x-ms-blob-type"] = "BlockBlob";
            var range = request.Headers["x-ms-range"].Count > 0 ? request.Headers["x-ms-range"] : request.Headers.Range;
            if (entry?.Bytes is null)
                await AzureErrorAsync(context, 404, "BlobNotFound", "The specified blob does not exist.");
            else
                await SendAsync(context, entry.Bytes, range.ToString());
            return;
        }
        if (entry is null || entry.IsCommitted || request.Method != "PUT")
        {
            await AzureErrorAsync(context, 409, "BlobImmutableDueToPolicy", "The blob cannot be written.");
            return;
        }
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        switch (request.Query["comp"].ToString())
        {
            case "block":
                var blockId = request.Query["blockid"].ToString();
                if (!IsBlockId(blockId) || entry.Parts.Keys.Any(other => other.Length != blockId.Length))
                {
                    await AzureErrorAsync(context, 400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.");
                    return;
                }
                entry.Parts[blockId] = body.ToArray();
                break;
            case "blocklist":
                var ids = BlockIds().Matches(Encoding.UTF8.GetString(body.ToArray())).Select(m => m.Groups[1].Value).ToList();
                if (ids.Exists(block => !entry.Parts.ContainsKey(block)))
                {
                    await AzureErrorAsync(context, 400, "InvalidBlockList", "The specified block list is invalid.");
                    return;
                }
                entry.Bytes = [.. ids.SelectMany(block => entry.Parts[block])];
                break;
            case "" when request.Headers["x-ms-blob-type"] == "BlockBlob":
                entry.Bytes = body.ToArray();
                break;
            default:
                await AzureErrorAsync(context, 400, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified.");
                return;
        }
        headers.ETag = "\"0x1\"";
        headers.LastModified = DateTimeOffset.UtcNow.ToString("R");
        context.Response.StatusCode = 201;
    }

    private static bool IsBlockId(string text)
    {
        var id = new byte[65];
        return Convert.TryFromBase64String(text, id, out var length) && length is > 0 and <= 64;
    }

    private static async Task SendAsync(HttpContext context, byte[]? bytes, string range)
    {
        var response = context.Response;
        if (bytes is null)
        {
            response.StatusCode = 404;
            return;
        }
        var (from, to) = (0, bytes.Length - 1);
        if (range.Length > 0)
        {
            var ends = range["bytes=".Length..].Split('-');
            from = int.Parse(ends[0], CultureInfo.InvariantCulture);
            to = ends[1].Length > 0 ? Math.Min(to, int.Parse(ends[1], CultureInfo.InvariantCulture)) : to;
            if (from >= bytes.Length)
            {
                response.StatusCode = 416;
                return;
            }
            response.StatusCode = 206;
            response.Headers.ContentRange = $"bytes {from}-{to}/{bytes.Length}";
        }
        response.Headers.AcceptRanges = "bytes";
        response.Headers.ETag = "\"0x1\"";
        response.Headers.LastModified = DateTimeOffset.UtcNow.ToString("R");
        response.ContentType = "application/octet-stream";
        response.ContentLength = to - from + 1;
        if (context.Request.Method == "GET")
            await response.Body.WriteAsync(bytes.AsMemory(from, to - from + 1));
    }

    private static Task AzureErrorAsync(HttpContext context, int status, string code, string message)
    {
        context.Response.StatusCode = status;
        context.Response.Headers["x-ms-error-code"] = code;
        context.Response.ContentType = "application/xml";
        return context.Request.Method == "HEAD" ? Task.CompletedTask
            : context.Response.WriteAsync($"<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    }

    [GeneratedRegex("<(?:Latest|Uncommitted)>(.*?)</")]
    private static partial Regex BlockIds();
}
