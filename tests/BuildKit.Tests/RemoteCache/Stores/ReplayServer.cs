using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>One request as it was on the wire: body text, or the number of its bytes when they are none.</summary>
internal sealed record WireRequest(string Method, string Target, string Body, string Headers)
{
    public string Path => Target.Split('?')[0];

    public bool IsWrite => Method is "PUT" or "PATCH" || (Method == "POST" && !Target.EndsWith("/GetCacheEntryDownloadURL", StringComparison.Ordinal));

    /// <summary>What the answer depends on: of calls to one address also the entry they are about.</summary>
    public (string, string, string) Question => (Method, Target, Method == "POST" && Body.StartsWith("{\"key\"", StringComparison.Ordinal) ? Body : "");

    public override string ToString() => $"{Method} {Target} [{Headers}] {Body}";
}

/// <summary>A recorded exchange.</summary>
internal sealed record WireExchange(WireRequest Request, int Status, IReadOnlyDictionary<string, string> Answer, string? Text, bool IsBinary, string Date, string Host);

/// <summary>Plays the server's side of a recording: to each request the answers recorded for it, in their order; the last one again.</summary>
internal sealed partial class ReplayServer : IAsyncDisposable
{
    // Headers that decide what a request does; the others (dates, signatures, names of programs) differ by nature.
    private static readonly string[] Compared =
        ["accept", "content-range", "content-type", "if-none-match", "range", "transfer-encoding", "x-amz-copy-source", "x-amz-metadata-directive", "x-ms-blob-type", "x-ms-range", "x-ms-version"];

    private readonly StubServer _server;

    private ReplayServer(StubServer server, ConcurrentQueue<WireRequest> seen) => (_server, Seen) = (server, seen);

    public ConcurrentQueue<WireRequest> Seen { get; }

    public string Host => _server.Host;

    /// <summary>Reads a recording: one exchange per line.</summary>
    public static IReadOnlyList<WireExchange> Read(string path) => [.. File.ReadLines(path).Where(l => l.Length > 0).Select(ReadLine)];

    public static async Task<ReplayServer> StartAsync(IReadOnlyList<WireExchange> recorded, Func<string, long> sizeOfBinary)
    {
        var answers = recorded.GroupBy(e => e.Request.Question)
            .ToDictionary(g => g.Key, g => new ConcurrentQueue<WireExchange>(g));
        var seen = new ConcurrentQueue<WireRequest>();
        var server = await StubServer.StartAsync(async (context, stub) =>
        {
            var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            var bytes = body.ToArray();
            var request = Normalized(context.Request.Method, target, TextOrSize(bytes), name => context.Request.Headers.TryGetValue(name, out var value) ? value.ToString() : null);
            seen.Enqueue(request);
            if (!answers.TryGetValue(request.Question, out var queue) || !queue.TryPeek(out var exchange))
            {
                context.Status(501);
                return;
            }
            if (queue.Count > 1)
                queue.TryDequeue(out _);
            context.Status(exchange.Status);
            foreach (var (name, value) in exchange.Answer)
                context.Response.Headers[name] = value;
            if (exchange.Text is not null)
                await context.Response.WriteAsync(exchange.Text.Replace(exchange.Host, stub.Host, StringComparison.Ordinal));
            else if (exchange.IsBinary)
                await context.Response.Body.WriteAsync(new byte[sizeOfBinary(target)]);
        });
        return new ReplayServer(server, seen);
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    private static WireExchange ReadLine(string line)
    {
        using var document = JsonDocument.Parse(line);
        var root = document.RootElement;
        var words = root.GetProperty("request").GetString()!.Split(' ', 2);
        var sent = Pairs(root.GetProperty("headers"));
        var body = !root.TryGetProperty("body", out var b) ? ""
            : b.TryGetProperty("text", out var text) ? text.GetString()! : $"{b.GetProperty("binaryBytes").GetInt64()} bytes";
        var response = root.GetProperty("response");
        var answer = response.TryGetProperty("headers", out var h) ? Pairs(h) : [];
        response.TryGetProperty("body", out var answered);
        var hasText = answered.ValueKind == JsonValueKind.Object && answered.TryGetProperty("text", out _);
        return new WireExchange(
            Normalized(words[0], words[1], body, sent.GetValueOrDefault), response.GetProperty("status").GetInt32(), answer,
            hasText ? answered.GetProperty("text").GetString() : null,
            answered.ValueKind == JsonValueKind.Object && !hasText,
            sent.GetValueOrDefault("x-amz-date") ?? sent.GetValueOrDefault("x-ms-date") ?? "",
            sent["Host"]);
    }

    /// <summary>A request without what is by chance: of a block's id only its number is kept.</summary>
    private static WireRequest Normalized(string method, string target, string body, Func<string, string?> header)
    {
        var headers = Compared.Select(name => (Name: name, Value: header(name))).Where(h => h.Value is not null).Select(h => $"{h.Name}: {h.Value}").ToList();
        if (header("authorization")?.StartsWith("Bearer ", StringComparison.Ordinal) == true)
            headers.Add("with token");
        var query = target.Split('?', 2);
        if (query.Length == 2 && BlockInQuery().Match(query[1]) is { Success: true } block)
            target = $"{query[0]}?{BlockInQuery().Replace(query[1], "blockid=" + NumberOf(Uri.UnescapeDataString(block.Groups[1].Value)), 1)}";
        return new WireRequest(method, target, BlockInList().Replace(body, m => $"<Latest>{NumberOf(m.Groups[1].Value)}</Latest>"), string.Join(", ", headers));
    }

    private static string NumberOf(string blockId) => Convert.ToHexStringLower(Convert.FromBase64String(blockId).AsSpan(16));

    // Ids of 64 bytes, 16 of which name the upload.
    [GeneratedRegex("(?<=^|&)blockid=([A-Za-z0-9%]{86,}%3D%3D)")]
    private static partial Regex BlockInQuery();

    [GeneratedRegex("<Latest>([A-Za-z0-9+/]{86}==)</Latest>")]
    private static partial Regex BlockInList();

    private static Dictionary<string, string> Pairs(JsonElement headers) =>
        headers.EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetString()!, StringComparer.OrdinalIgnoreCase);

    private static string TextOrSize(byte[] bytes) => bytes.Length == 0 ? ""
        : bytes[0] is (byte)'{' or (byte)'<' ? Encoding.UTF8.GetString(bytes) : $"{bytes.Length} bytes";
}
