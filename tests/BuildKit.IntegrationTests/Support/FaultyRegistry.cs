using System.Collections.Concurrent;
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.Support;

/// <summary>What happens to a request for a blob or manifest.</summary>
public enum RegistryFault
{
    /// <summary>404.</summary>
    Missing,
    /// <summary>500.</summary>
    ServerError,
    /// <summary>One byte is another.</summary>
    Corrupt,
    /// <summary>The second half never comes, and the connection is closed.</summary>
    Truncated,
    /// <summary>No answer, for ever.</summary>
    Silent,
    /// <summary>The first half, then nothing, for ever.</summary>
    Stalled,
}

/// <summary>
/// Stands in front of an open <see cref="DockerRegistry"/>, hands reads on to it and makes those fail that a test names.
/// Counts what was asked for.
/// </summary>
public sealed class FaultyRegistry : IAsyncDisposable
{
    private readonly WebApplication _server;
    private readonly HttpClient _client = new(new SocketsHttpHandler { AllowAutoRedirect = false });
    private readonly CancellationTokenSource _end = new();
    private readonly string _upstream;

    private FaultyRegistry(DockerRegistry upstream)
    {
        _upstream = upstream.Host;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        _server = builder.Build();
        _server.Run(ForwardAsync);
    }

    /// <summary><c>127.0.0.1:port</c>.</summary>
    public string Host { get; private set; } = "";

    /// <summary>Faults by what the request's path ends with: a digest or a tag.</summary>
    public ConcurrentDictionary<string, RegistryFault> Faults { get; } = new(StringComparer.Ordinal);

    /// <summary>Method and path of every request so far.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>How often the body of a blob was asked for.</summary>
    public int ReadsOf(string digest) => Requests.Count(r => r.StartsWith("GET ", StringComparison.Ordinal) && r.EndsWith("/blobs/" + digest, StringComparison.Ordinal));

    public static async Task<FaultyRegistry> StartAsync(DockerRegistry upstream)
    {
        var registry = new FaultyRegistry(upstream);
        await registry._server.StartAsync();
        registry.Host = new Uri(registry._server.Urls.First()).Authority;
        return registry;
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _server.DisposeAsync();
        _client.Dispose();
        _end.Dispose();
    }

    private async Task ForwardAsync(HttpContext context)
    {
        var path = context.Request.Path.Value!;
        Requests.Enqueue($"{context.Request.Method} {path}");
        RegistryFault? fault = Faults.TryGetValue(path[(path.LastIndexOf('/') + 1)..], out var named) ? named : null;
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _end.Token);
        switch (fault)
        {
            case RegistryFault.Missing:
                context.Response.StatusCode = 404;
                return;
            case RegistryFault.ServerError:
                context.Response.StatusCode = 500;
                return;
            case RegistryFault.Silent:
                await ForEverAsync(ended.Token);
                return;
            default:
                break;
        }
        using var request = new HttpRequestMessage(new HttpMethod(context.Request.Method), $"http://{_upstream}{path}{context.Request.QueryString}");
        foreach (var name in new[] { "Accept", "Range" })
        {
            if (context.Request.Headers.TryGetValue(name, out var values))
                request.Headers.TryAddWithoutValidation(name, values.AsEnumerable());
        }
        using var answer = await _client.SendAsync(request, ended.Token);
        var body = await answer.Content.ReadAsByteArrayAsync(ended.Token);
        context.Response.StatusCode = (int)answer.StatusCode;
        foreach (var (name, values) in answer.Headers.Concat(answer.Content.Headers))
        {
            if (name is "Docker-Content-Digest" or "Content-Type" or "Content-Length" or "Content-Range" or "Docker-Distribution-Api-Version")
                context.Response.Headers[name] = values.ToArray();
        }
        if (context.Request.Method == "HEAD")
            return;
        if (fault == RegistryFault.Corrupt && body.Length > 0)
            body[body.Length / 2] ^= 0x55;
        var count = fault is RegistryFault.Truncated or RegistryFault.Stalled ? body.Length / 2 : body.Length;
        await context.Response.Body.WriteAsync(body.AsMemory(0, count), ended.Token);
        await context.Response.Body.FlushAsync(ended.Token);
        if (fault == RegistryFault.Truncated)
            context.Abort();
        else if (fault == RegistryFault.Stalled)
            await ForEverAsync(ended.Token);
    }

    private static async Task ForEverAsync(CancellationToken cancellationToken)
    {
        try
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Whoever asked went away, or the test is over.
        }
    }
}
