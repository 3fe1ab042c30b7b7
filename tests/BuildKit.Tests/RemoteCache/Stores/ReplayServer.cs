using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>One request as it was on the wire: body text, or the number of its bytes when they are none.</summary>
internal sealed record WireRequest(string Method, string Target, string Body, string Headers)
{
    public string Path => Target.Split('?')[0];

    public bool IsWrite => Method is "PUT" or "POST";

    public override string ToString() => $"{Method} {Target} [{Headers}] {Body}";
}

/// <summary>A recorded exchange.</summary>
internal sealed record WireExchange(WireRequest Request, int Status, IReadOnlyDictionary<string, string> Answer, string? Text, bool IsBinary, string Date);

/// <summary>Plays the server's side of a recording: to each request the answers recorded for it, in their order; the last one again.</summary>
internal sealed class ReplayServer : IAsyncDisposable
{
    // Headers that decide what a request does; the others (dates, signatures, names of programs) differ by nature.
    private static readonly string[] Compared =
        ["accept", "content-type", "if-none-match", "range", "x-amz-copy-source", "x-amz-metadata-directive", "x-ms-blob-type", "x-ms-range", "x-ms-version"];

    private readonly StubServer _server;

    private ReplayServer(StubServer server, ConcurrentQueue<WireRequest> seen) => (_server, Seen) = (server, seen);

    public ConcurrentQueue<WireRequest> Seen { get; }

    public string Host => _server.Host;

    /// <summary>Reads a recording: one exchange per line.</summary>
    public static IReadOnlyList<WireExchange> Read(string path) => [.. File.ReadLines(path).Where(l => l.Length > 0).Select(ReadLine)];

    public static async Task<ReplayServer> StartAsync(IReadOnlyList<WireExchange> recorded, Func<string, long> sizeOfBinary)
    {
        var answers = recorded.GroupBy(e => (e.Request.Method, e.Request.Target))
            .ToDictionary(g => g.Key, g => new ConcurrentQueue<WireExchange>(g));
        var seen = new ConcurrentQueue<WireRequest>();
        var server = await StubServer.StartAsync(async (context, stub) =>
        {
            var target = context.Features.Get<IHttpRequestFeature>()!.RawTarget;
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            var bytes = body.ToArray();
            var headers = string.Join(", ", Compared.Where(n => context.Request.Headers.ContainsKey(n)).Select(n => $"{n}: {context.Request.Headers[n]}"));
            seen.Enqueue(new WireRequest(context.Request.Method, target, TextOrSize(bytes), headers));
            if (!answers.TryGetValue((context.Request.Method, target), out var queue) || !queue.TryPeek(out var exchange))
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
                await context.Response.WriteAsync(exchange.Text);
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
        var headers = string.Join(", ", Compared.Where(sent.ContainsKey).Select(n => $"{n}: {sent[n]}"));
        var response = root.GetProperty("response");
        var answer = response.TryGetProperty("headers", out var h) ? Pairs(h) : [];
        response.TryGetProperty("body", out var answered);
        var hasText = answered.ValueKind == JsonValueKind.Object && answered.TryGetProperty("text", out _);
        return new WireExchange(
            new WireRequest(words[0], words[1], body, headers), response.GetProperty("status").GetInt32(), answer,
            hasText ? answered.GetProperty("text").GetString() : null,
            answered.ValueKind == JsonValueKind.Object && !hasText,
            sent.GetValueOrDefault("x-amz-date") ?? sent["x-ms-date"]);
    }

    private static Dictionary<string, string> Pairs(JsonElement headers) =>
        headers.EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetString()!, StringComparer.OrdinalIgnoreCase);

    private static string TextOrSize(byte[] bytes) => bytes.Length == 0 ? ""
        : bytes[0] is (byte)'{' or (byte)'<' ? Encoding.UTF8.GetString(bytes) : $"{bytes.Length} bytes";
}
