using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace BuildKit.Tests.Registry;

/// <summary>A web server on loopback that answers as a test says and remembers what it was asked.</summary>
internal sealed class StubServer : IAsyncDisposable
{
    private readonly WebApplication _application;

    private StubServer(WebApplication application) => _application = application;

    public ConcurrentQueue<string> Requests { get; } = new();

    public string Host { get; private set; } = "";

    public int Port { get; private set; }

    public static async Task<StubServer> StartAsync(Func<HttpContext, StubServer, Task> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.ListenLocalhostDynamic());
        var application = builder.Build();
        var server = new StubServer(application);
        application.Run(async context =>
        {
            server.Requests.Enqueue($"{context.Request.Method} {context.Request.Path}{Uri.UnescapeDataString(context.Request.QueryString.Value ?? "")}");
            await answer(context, server);
        });
        await application.StartAsync();
        server.Port = new Uri(application.Urls.First()).Port;
        server.Host = $"127.0.0.1:{server.Port}";
        return server;
    }

    public async ValueTask DisposeAsync() => await _application.DisposeAsync();
}

internal static class StubServerExtensions
{
    public static void ListenLocalhostDynamic(this KestrelServerOptions options) =>
        options.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1);

    public static void Status(this HttpContext context, int status) => context.Response.StatusCode = status;
}

/// <summary>A clock on which nobody waits: every timer fires at once, and the waits are remembered.</summary>
internal sealed class InstantTime : TimeProvider
{
    public ConcurrentQueue<TimeSpan> Waits { get; } = new();

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (dueTime >= TimeSpan.FromMinutes(1))
            return System.CreateTimer(callback, state, dueTime, period); // a limit, no wait
        Waits.Enqueue(dueTime);
        return System.CreateTimer(callback, state, dueTime == Timeout.InfiniteTimeSpan ? dueTime : TimeSpan.Zero, period);
    }
}
