using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A request that went through a <see cref="FaultProxy"/>: method, path and query as they were on the wire.</summary>
public sealed record ProxiedRequest(string Method, string Target)
{
    private long _answered;

    /// <summary>Its headers.</summary>
    public IReadOnlyDictionary<string, string> Headers { get; init; } = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);

    /// <summary>The range asked for, in whichever header; empty for none.</summary>
    public string Range => Header("Range") is { Length: > 0 } range ? range : Header("x-ms-range");

    /// <summary>Bytes of the answer's body that went to the client so far.</summary>
    public long Answered => Interlocked.Read(ref _answered);

    /// <summary>A header, or empty.</summary>
    public string Header(string name) => Headers.GetValueOrDefault(name) ?? "";

    public override string ToString() => $"{Method} {Target}{(Range.Length > 0 ? $" ({Range})" : "")}";

    internal void Answer(int bytes) => Interlocked.Add(ref _answered, bytes);
}

/// <summary>What goes wrong with a request or its answer.</summary>
public abstract record Fault
{
    /// <summary>The connection breaks after so many bytes of the answer's body.</summary>
    public sealed record ResetAnswer(long AfterBytes) : Fault;

    /// <summary>The connection breaks after so many bytes of the request's body; the server behind sees nothing of it.</summary>
    public sealed record ResetRequest(long AfterBytes) : Fault;

    /// <summary>After so many bytes of the request's body nothing is read any more, nor answered; the server behind sees nothing of it.</summary>
    public sealed record StallRequest(long AfterBytes) : Fault;

    /// <summary>The server behind does what it was asked, and the connection breaks before its answer.</summary>
    public sealed record LoseAnswer : Fault;

    /// <summary>Something happens before the request goes on to the server behind, unharmed.</summary>
    public sealed record Before(Func<Task> Action) : Fault;

    /// <summary>The answer ends in good order after so many bytes, as if it were whole.</summary>
    public sealed record Truncate(long AfterBytes) : Fault;

    /// <summary>One byte of the answer's body is another.</summary>
    public sealed record Corrupt(long AtByte) : Fault;

    /// <summary>After so many bytes of the answer nothing comes any more, while the connection stays.</summary>
    public sealed record Stall(long AfterBytes) : Fault;

    /// <summary>The proxy itself answers; the server behind sees nothing.</summary>
    public sealed record Answer(int Status, string Body = "") : Fault
    {
        /// <summary>Headers of the answer.</summary>
        public IReadOnlyDictionary<string, string> Headers { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

        /// <summary>The server is busy for so many seconds.</summary>
        public static Answer Busy(int status, int seconds) => new(status)
        {
            Headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["Retry-After"] = seconds.ToString(System.Globalization.CultureInfo.InvariantCulture) },
        };
    }
}

/// <summary>
/// A proxy on loopback in front of a real HTTP/1.1 server: passes requests on byte for byte (path, query and Host header too, so
/// that signatures stay valid), remembers them, and does harm where a test says so.
/// </summary>
public sealed class FaultProxy : IAsyncDisposable
{
    private static readonly string[] HopHeaders = ["Connection", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection", "Expect"];

    private readonly string _behind;
    private readonly WebApplication _application;
    private readonly CancellationTokenSource _over = new();
    private readonly List<Rule> _rules = [];
    private readonly HttpMessageInvoker _client = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        UseCookies = false,
        UseProxy = false,
    });

    private FaultProxy(string behind, WebApplication application) => (_behind, _application) = (behind, application);

    /// <summary>Host and port of the proxy.</summary>
    public string Host { get; private set; } = "";

    /// <summary>All requests so far.</summary>
    public ConcurrentQueue<ProxiedRequest> Requests { get; } = new();

    /// <summary>Starts a proxy in front of <c>host:port</c>.</summary>
    public static async Task<FaultProxy> StartAsync(string behind)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options =>
        {
            options.Limits.MaxRequestBodySize = null;
            options.Limits.MinRequestBodyDataRate = null;
            options.Limits.MinResponseDataRate = null;
            options.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1);
        });
        var application = builder.Build();
        var proxy = new FaultProxy(behind, application);
        application.Run(proxy.PassAsync);
        await application.StartAsync();
        proxy.Host = new Uri(application.Urls.First()).Authority;
        return proxy;
    }

    /// <summary>Does harm to the next requests that match; of several rules the oldest that is not used up.</summary>
    public void Inject(Func<ProxiedRequest, bool> where, Fault fault, int times = 1)
    {
        lock (_rules)
            _rules.Add(new Rule(where, fault, times));
    }

    /// <summary>Forgets requests and rules.</summary>
    public void Reset()
    {
        lock (_rules)
            _rules.Clear();
        Requests.Clear();
    }

    /// <summary>How often a fault was still to happen: 0 when every rule took effect.</summary>
    public int FaultsLeft
    {
        get
        {
            lock (_rules)
                return _rules.Sum(r => r.Left);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        await _application.DisposeAsync();
        _client.Dispose();
        _over.Dispose();
    }

    private async Task PassAsync(HttpContext context)
    {
        var request = new ProxiedRequest(context.Request.Method, context.Features.Get<IHttpRequestFeature>()!.RawTarget)
        {
            Headers = context.Request.Headers.ToDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase),
        };
        Requests.Enqueue(request);
        var fault = Take(request);
        switch (fault)
        {
            case Fault.Answer answer:
                await context.Request.Body.CopyToAsync(Stream.Null, context.RequestAborted);
                context.Response.StatusCode = answer.Status;
                foreach (var (name, value) in answer.Headers)
                    context.Response.Headers[name] = value;
                if (context.Request.Method != "HEAD")
                    await context.Response.WriteAsync(answer.Body);
                return;
            case Fault.ResetRequest reset:
                await DiscardAsync(context, reset.AfterBytes);
                context.Abort();
                return;
            case Fault.StallRequest stall:
                await DiscardAsync(context, stall.AfterBytes);
                await ForEverAsync(context);
                return;
            case Fault.Before before:
                await before.Action();
                break;
        }
        using var message = Message(context, request);
        using var response = await _client.SendAsync(message, context.RequestAborted);
        if (fault is Fault.LoseAnswer)
        {
            context.Abort();
            return;
        }
        context.Response.StatusCode = (int)response.StatusCode;
        foreach (var (name, values) in response.Headers.NonValidated.Concat(response.Content.Headers.NonValidated).Where(h => !HopHeaders.Contains(h.Key, StringComparer.OrdinalIgnoreCase)))
            context.Response.Headers[name] = values.ToArray();
        if (fault is Fault.Truncate truncated && context.Response.ContentLength > truncated.AfterBytes)
            context.Response.ContentLength = truncated.AfterBytes;
        if (context.Request.Method == "HEAD")
            return;
        await CopyAsync(await response.Content.ReadAsStreamAsync(context.RequestAborted), context, request, fault);
    }

    private async Task CopyAsync(Stream body, HttpContext context, ProxiedRequest request, Fault? fault)
    {
        var limit = fault switch { Fault.ResetAnswer reset => reset.AfterBytes, Fault.Truncate truncate => truncate.AfterBytes, Fault.Stall stall => stall.AfterBytes, _ => long.MaxValue };
        var buffer = new byte[64 * 1024];
        long sent = 0;
        while (sent < limit)
        {
            var count = await body.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, limit - sent)), context.RequestAborted);
            if (count == 0)
                return;
            if (fault is Fault.Corrupt corrupt && corrupt.AtByte >= sent && corrupt.AtByte < sent + count)
                buffer[corrupt.AtByte - sent] ^= 0x55;
            await context.Response.Body.WriteAsync(buffer.AsMemory(0, count), context.RequestAborted);
            request.Answer(count);
            sent += count;
        }
        await context.Response.Body.FlushAsync(context.RequestAborted);
        switch (fault)
        {
            case Fault.ResetAnswer:
                await Task.Delay(50, context.RequestAborted); // what was sent arrives: a reset throws away what was not read
                context.Abort();
                break;
            case Fault.Stall:
                await ForEverAsync(context);
                break;
        }
    }

    private static async Task DiscardAsync(HttpContext context, long bytes)
    {
        var discarded = new byte[64 * 1024];
        for (long read = 0; read < bytes;)
        {
            var count = await context.Request.Body.ReadAsync(discarded.AsMemory(0, (int)Math.Min(discarded.Length, bytes - read)), context.RequestAborted);
            if (count == 0)
                break;
            read += count;
        }
    }

    private async Task ForEverAsync(HttpContext context)
    {
        using (var either = CancellationTokenSource.CreateLinkedTokenSource(_over.Token, context.RequestAborted))
            await Task.Delay(Timeout.Infinite, either.Token).ContinueWith(static _ => { }, TaskScheduler.Default);
        context.Abort();
    }

    private HttpRequestMessage Message(HttpContext context, ProxiedRequest request)
    {
        var uri = new Uri($"http://{_behind}{request.Target}", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
        var message = new HttpRequestMessage(new HttpMethod(request.Method), uri) { Version = HttpVersion.Version11 };
        if (context.Request.ContentLength is not null || context.Request.Headers.TransferEncoding.Count > 0)
            message.Content = new StreamContent(context.Request.Body);
        foreach (var (name, values) in context.Request.Headers.Where(h => !HopHeaders.Contains(h.Key, StringComparer.OrdinalIgnoreCase)))
        {
            if (!message.Headers.TryAddWithoutValidation(name, (IEnumerable<string>)values.ToArray()!))
                message.Content?.Headers.TryAddWithoutValidation(name, (IEnumerable<string>)values.ToArray()!);
        }
        return message;
    }

    private Fault? Take(ProxiedRequest request)
    {
        lock (_rules)
        {
            if (_rules.Find(r => r.Left > 0 && r.Where(request)) is not { } rule)
                return null;
            rule.Left--;
            return rule.Fault;
        }
    }

    private sealed class Rule(Func<ProxiedRequest, bool> where, Fault fault, int left)
    {
        public Func<ProxiedRequest, bool> Where => where;

        public Fault Fault => fault;

        public int Left { get; set; } = left;
    }
}
