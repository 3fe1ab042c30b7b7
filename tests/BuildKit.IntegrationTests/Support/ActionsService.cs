using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.Support;

/// <summary>
/// A stand-in for GitHub's cache service on loopback, both versions over the same entries: reserving, uploading, committing and
/// finding by key, version and scope. GitHub's own client is used against it in <c>ActionsServiceTests</c>. Addresses it gives
/// name the host that was asked, so that it can stand behind a proxy.
/// </summary>
public sealed partial class ActionsService : IAsyncDisposable
{
    private const string Rest = "/_apis/artifactcache/";
    private const string Twirp = "/twirp/github.actions.results.api.v1.CacheService/";

    private readonly WebApplication _application;
    private readonly Lock _gate = new();
    private readonly List<Entry> _entries = [];
    private readonly ConcurrentDictionary<string, IReadOnlyList<(string Scope, int Permission)>> _tokens = new(StringComparer.Ordinal);
    private int _numbers;

    private ActionsService(WebApplication application) => _application = application;

    /// <summary>Host and port.</summary>
    public string Host { get; private set; } = "";

    /// <summary>Keys of committed entries as <c>scope key</c>, oldest first.</summary>
    public IReadOnlyList<string> Entries
    {
        get
        {
            lock (_gate)
                return [.. _entries.Where(e => e.IsCommitted).OrderBy(e => e.Committed).Select(e => $"{e.Scope} {e.Key}")];
        }
    }

    /// <summary>Starts an empty service.</summary>
    public static async Task<ActionsService> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options =>
        {
            options.Limits.MaxRequestBodySize = null;
            options.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1);
        });
        var application = builder.Build();
        var service = new ActionsService(application);
        application.Run(service.AnswerAsync);
        await application.StartAsync();
        service.Host = new Uri(application.Urls.First()).Authority;
        return service;
    }

    /// <summary>A token for scopes, each with its permission: 1 read, 2 write, 3 both. It is a week old.</summary>
    public string IssueToken(params (string Scope, int Permission)[] scopes)
    {
        static string Segment(string json) => System.Buffers.Text.Base64Url.EncodeToString(Encoding.UTF8.GetBytes(json));
        var access = "[" + string.Join(',', scopes.Select(s => $$"""{"Scope":"{{s.Scope}}","Permission":{{s.Permission}}}""")) + "]";
        var now = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        var claims = $$"""{"ac":{{Quote(access)}},"nbf":{{now - (7 * 24 * 3600)}},"exp":{{now + 3600}},"jti":"{{Guid.NewGuid():N}}"}""";
        var token = $"{Segment("""{"typ":"JWT","alg":"RS256"}""")}.{Segment(claims)}.{Segment("signature")}";
        _tokens[token] = scopes;
        return token;
    }

    /// <summary>Whether a request reads or writes the bytes of an entry whose key is such.</summary>
    public bool IsAbout(ProxiedRequest request, Func<string, bool> key)
    {
        var path = request.Target.Split('?')[0];
        var start = new[] { BlobPath, ArchivePath, Rest + "caches/" }.FirstOrDefault(p => path.StartsWith(p, StringComparison.Ordinal));
        return start is not null && Get(int.Parse(path[start.Length..], CultureInfo.InvariantCulture)) is { } entry && key(entry.Key);
    }

    /// <summary>The bytes of the newest entry whose key is such, or null.</summary>
    public byte[]? Newest(Func<string, bool> key)
    {
        lock (_gate)
            return _entries.Where(e => e.IsCommitted && key(e.Key)).MaxBy(e => e.Committed)?.Bytes;
    }

    /// <summary>Gives an entry another key.</summary>
    public void Rename(string key, string newKey)
    {
        lock (_gate)
        {
            var old = _entries.Find(e => e.Key == key)!;
            _entries.Remove(old);
            _entries.Add(new Entry(old.Id, newKey, old.Version, old.Scope) { Bytes = old.Bytes, Committed = old.Committed });
        }
    }

    /// <summary>Gives an entry other bytes.</summary>
    public void Replace(string key, byte[] bytes)
    {
        lock (_gate)
            _entries.Find(e => e.Key == key)!.Bytes = bytes;
    }

    /// <summary>Evicts entries whose key is such; returns how many.</summary>
    public int Evict(Func<string, bool> where)
    {
        lock (_gate)
            return _entries.RemoveAll(e => where(e.Key));
    }

    /// <summary>Makes an entry reserved for ever, as by a job that died.</summary>
    public void ReserveForDead(string scope, string key, string version)
    {
        lock (_gate)
            _entries.Add(new Entry(++_numbers, key, version, scope));
    }

    /// <summary>Addresses given so far are not accepted any more.</summary>
    public void ExpireAddresses() => _signatures.Clear();

    public ValueTask DisposeAsync() => _application.DisposeAsync();

    private Task AnswerAsync(HttpContext context)
    {
        var path = context.Request.Path.Value!;
        if (path.StartsWith(BlobPath, StringComparison.Ordinal))
            return AnswerBlobAsync(context, int.Parse(path[BlobPath.Length..], CultureInfo.InvariantCulture));
        if (path.StartsWith(ArchivePath, StringComparison.Ordinal))
            return AnswerArchiveAsync(context, int.Parse(path[ArchivePath.Length..], CultureInfo.InvariantCulture));
        var bearer = context.Request.Headers.Authorization.ToString();
        if (!bearer.StartsWith("Bearer ", StringComparison.Ordinal) || !_tokens.TryGetValue(bearer["Bearer ".Length..], out var scopes))
            return JsonAsync(context, 401, path.StartsWith(Twirp, StringComparison.Ordinal) ? """{"code":"unauthenticated","msg":"invalid token"}""" : """{"message":"Unauthorized"}""");
        if (path.StartsWith(Rest, StringComparison.Ordinal))
            return AnswerRestAsync(context, path[Rest.Length..], scopes);
        if (path.StartsWith(Twirp, StringComparison.Ordinal))
            return AnswerTwirpAsync(context, path[Twirp.Length..], scopes);
        return JsonAsync(context, 404, """{"code":"bad_route","msg":"no such route"}""");
    }

    // Version 1: golden http-gha-v1.
    private async Task AnswerRestAsync(HttpContext context, string path, IReadOnlyList<(string Scope, int Permission)> scopes)
    {
        var request = context.Request;
        if (!request.Headers.Accept.ToString().Contains("api-version=", StringComparison.Ordinal))
        {
            await JsonAsync(context, 400, """{"message":"No api-version was supplied.","typeKey":"VssVersionNotSpecifiedException"}""");
            return;
        }
        switch (request.Method, path)
        {
            case ("GET", "cache"):
                var found = Find(scopes, request.Query["keys"].ToString().Split(','), request.Query["version"].ToString());
                if (found is null)
                    context.Response.StatusCode = 204;
                else
                    await JsonAsync(context, 200, $$"""{"cacheKey":{{Quote(found.Key)}},"scope":{{Quote(found.Scope)}},"archiveLocation":{{Quote(Sign(context, ArchivePath, found, "r"))}}}""");
                break;
            case ("POST", "caches"):
                var asked = await BodyAsync(request);
                var (reserved, refusal) = Reserve(scopes, Text(asked, "key"), Text(asked, "version"));
                if (reserved is not null)
                    await JsonAsync(context, 201, $$"""{"cacheId":{{reserved.Id}}}""");
                else if (refusal == 409)
                    await JsonAsync(context, 409, $$"""{"$id":"1","message":{{Quote($"Cache already exists. Key: {Text(asked, "key")}, Version: {Text(asked, "version")}")}},"typeKey":"ArtifactCacheItemAlreadyExistsException","errorCode":0}""");
                else
                    await JsonAsync(context, 403, """{"$id":"1","message":"The token has no scope that may be written.","typeKey":"AccessCheckException","errorCode":0}""");
                break;
            case ("PATCH", _) when Open(path) is { } entry && ContentRange(request) is { } range:
                using (var chunk = new MemoryStream())
                {
                    await request.Body.CopyToAsync(chunk);
                    if (chunk.Length != range.To - range.From + 1)
                        await JsonAsync(context, 400, """{"message":"The content does not have the size of its range.","typeKey":"ArgumentException"}""");
                    else
                        entry.Parts[range.From.ToString("D15", CultureInfo.InvariantCulture)] = chunk.ToArray();
                }
                if (context.Response.StatusCode == 200)
                    context.Response.StatusCode = 204;
                break;
            case ("POST", _) when Open(path) is { } entry:
                var bytes = entry.Parts.OrderBy(p => p.Key, StringComparer.Ordinal).SelectMany(p => p.Value).ToArray();
                if (bytes.Length != Number(await BodyAsync(request), "size"))
                {
                    await JsonAsync(context, 400, """{"message":"The size is not that of the uploaded chunks.","typeKey":"ArtifactCacheItemSizeException"}""");
                    break;
                }
                entry.Bytes = bytes;
                Commit(entry);
                context.Response.StatusCode = 204;
                break;
            default:
                await JsonAsync(context, 404, """{"message":"There is no such reservation.","typeKey":"ArtifactCacheItemNotFoundException"}""");
                break;
        }
    }

    // Version 2: golden http-gha-v2.
    private async Task AnswerTwirpAsync(HttpContext context, string method, IReadOnlyList<(string Scope, int Permission)> scopes)
    {
        if (context.Request.Method != "POST" || context.Request.ContentType?.StartsWith("application/json", StringComparison.Ordinal) != true)
        {
            await JsonAsync(context, 404, """{"code":"bad_route","msg":"unsupported method or content type"}""");
            return;
        }
        var body = await BodyAsync(context.Request);
        var (key, version) = (Text(body, "key"), Text(body, "version"));
        switch (method)
        {
            case "GetCacheEntryDownloadURL":
                string[] keys = [key, .. body.TryGetProperty("restore_keys", out var more) ? more.EnumerateArray().Select(k => k.GetString()!) : []];
                var found = Find(scopes, keys, version);
                await JsonAsync(context, 200, found is null
                    ? """{"ok":false,"signed_download_url":"","matched_key":""}"""
                    : $$"""{"ok":true,"signed_download_url":{{Quote(Sign(context, BlobPath, found, "r"))}},"matched_key":{{Quote(found.Key)}}}""");
                break;
            case "CreateCacheEntry":
                var (reserved, refusal) = Reserve(scopes, key, version);
                if (reserved is not null)
                    await JsonAsync(context, 200, $$"""{"ok":true,"signed_upload_url":{{Quote(Sign(context, BlobPath, reserved, "w"))}}}""");
                else if (refusal == 409)
                    await JsonAsync(context, 409, """{"code":"already_exists","msg":"cache entry with the same key, version, and scope already exists"}""");
                else
                    await JsonAsync(context, 403, """{"code":"permission_denied","msg":"the token has no scope that may be written"}""");
                break;
            case "FinalizeCacheEntryUpload":
                Entry? entry;
                lock (_gate)
                    entry = _entries.FindLast(e => e.Key == key && e.Version == version && !e.IsCommitted && scopes.Any(s => s.Scope == e.Scope && (s.Permission & 2) != 0));
                if (entry?.Bytes is null)
                {
                    await JsonAsync(context, 404, """{"code":"not_found","msg":"nothing was uploaded for this entry"}""");
                }
                else if (entry.Bytes.Length != Number(body, "size_bytes"))
                {
                    await JsonAsync(context, 400, """{"code":"invalid_argument","msg":"the size is not that of the upload"}""");
                }
                else
                {
                    Commit(entry);
                    await JsonAsync(context, 200, $$"""{"ok":true,"entry_id":"{{entry.Id}}"}""");
                }
                break;
            default:
                await JsonAsync(context, 404, """{"code":"bad_route","msg":"no such method"}""");
                break;
        }
    }

    /// <summary>Looks in the first scope for each key, first whole, then as the beginning of the newest one; then in the next scope.</summary>
    private Entry? Find(IReadOnlyList<(string Scope, int Permission)> scopes, IReadOnlyList<string> keys, string version)
    {
        lock (_gate)
        {
            foreach (var (scope, permission) in scopes.Where(s => (s.Permission & 1) != 0))
            {
                var visible = _entries.Where(e => e.IsCommitted && e.Scope == scope && e.Version == version).OrderByDescending(e => e.Committed).ToList();
                foreach (var key in keys)
                {
                    if ((visible.Find(e => e.Key == key) ?? visible.Find(e => e.Key.StartsWith(key, StringComparison.Ordinal))) is { } found)
                        return found;
                }
            }
            return null;
        }
    }

    private (Entry? Entry, int Refusal) Reserve(IReadOnlyList<(string Scope, int Permission)> scopes, string key, string version)
    {
        lock (_gate)
        {
            if (scopes.LastOrDefault(s => (s.Permission & 2) != 0).Scope is not { } scope)
                return (null, 403);
            if (_entries.Exists(e => e.Key == key && e.Version == version && e.Scope == scope))
                return (null, 409);
            var entry = new Entry(++_numbers, key, version, scope);
            _entries.Add(entry);
            return (entry, 0);
        }
    }

    private Entry? Open(string path)
    {
        lock (_gate)
            return path.StartsWith("caches/", StringComparison.Ordinal) && int.TryParse(path["caches/".Length..], CultureInfo.InvariantCulture, out var id) ? _entries.Find(e => e.Id == id && !e.IsCommitted) : null;
    }

    private Entry? Get(int id)
    {
        lock (_gate)
            return _entries.Find(e => e.Id == id);
    }

    private void Commit(Entry entry)
    {
        lock (_gate)
            entry.Committed = ++_numbers;
    }

    private static (long From, long To)? ContentRange(HttpRequest request) =>
        request.Headers.ContentRange.ToString() is var text && text.StartsWith("bytes ", StringComparison.Ordinal) && text.EndsWith("/*", StringComparison.Ordinal)
        && text["bytes ".Length..^2].Split('-') is [var from, var to] && request.ContentType == "application/octet-stream"
            ? (long.Parse(from, CultureInfo.InvariantCulture), long.Parse(to, CultureInfo.InvariantCulture))
            : null;

    private static async Task<JsonElement> BodyAsync(HttpRequest request)
    {
        using var document = await JsonDocument.ParseAsync(request.Body);
        return document.RootElement.Clone();
    }

    private static string Text(JsonElement body, string name) => body.GetProperty(name).GetString()!;

    // Numbers of 64 bits come as text from some clients.
    private static long Number(JsonElement body, string name) => body.GetProperty(name) is { ValueKind: JsonValueKind.String } text
        ? long.Parse(text.GetString()!, CultureInfo.InvariantCulture)
        : body.GetProperty(name).GetInt64();

    private static string Quote(string text) => $"\"{JsonEncodedText.Encode(text)}\"";

    private static Task JsonAsync(HttpContext context, int status, string json)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync(json);
    }

    private sealed class Entry(int id, string key, string version, string scope)
    {
        public int Id => id;

        public string Key => key;

        public string Version => version;

        public string Scope => scope;

        /// <summary>Pieces of an upload under way, by offset or block id.</summary>
        public ConcurrentDictionary<string, byte[]> Parts { get; } = new(StringComparer.Ordinal);

        public byte[]? Bytes { get; set; }

        /// <summary>Order of the commit; 0 before it.</summary>
        public int Committed { get; set; }

        public bool IsCommitted => Committed > 0;
    }
}
