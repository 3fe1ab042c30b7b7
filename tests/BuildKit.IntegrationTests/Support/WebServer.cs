using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BuildKit.IntegrationTests.Support;

/// <summary>A request as a <see cref="WebServer"/> got it.</summary>
public sealed record WebRequest(string Method, string Path, string IfNoneMatch, string Authorization, string AcceptEncoding, string UserAgent)
{
    public override string ToString() => $"{Method} {Path}";
}

/// <summary>A web server on a free loopback port that answers as the test says and remembers what it was asked.</summary>
public sealed class WebServer : IAsyncDisposable
{
    private readonly WebApplication _application;
    private readonly ConcurrentQueue<WebRequest> _requests = new();

    private WebServer(WebApplication application) => _application = application;

    /// <summary>Address without a slash at the end.</summary>
    public string Url => _application.Urls.First();

    /// <summary>What it was asked, in order.</summary>
    public IReadOnlyList<WebRequest> Requests => [.. _requests];

    /// <summary>Starts a server.</summary>
    /// <param name="answer">Answers one request.</param>
    /// <param name="certificate">Makes it an https server.</param>
    public static async Task<WebServer> StartAsync(RequestDelegate answer, X509Certificate2? certificate = null)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0, listen =>
        {
            if (certificate is not null)
                listen.UseHttps(certificate);
        }));
        var application = builder.Build();
        var server = new WebServer(application);
        application.Run(async context =>
        {
            var request = context.Request;
            server._requests.Enqueue(new WebRequest(
                request.Method, request.Path + request.QueryString, request.Headers.IfNoneMatch.ToString(), request.Headers.Authorization.ToString(),
                request.Headers.AcceptEncoding.ToString(), request.Headers.UserAgent.ToString()));
            await answer(context);
        });
        await application.StartAsync();
        return server;
    }

    /// <summary>Forgets what it was asked.</summary>
    public void Forget() => _requests.Clear();

    public ValueTask DisposeAsync() => _application.DisposeAsync();
}

/// <summary>A file on a web server, which changes when the test says so.</summary>
public sealed class WebFile(byte[] content)
{
    /// <summary>What is served now.</summary>
    public byte[] Content { get; set; } = content;

    /// <summary>Entity tag; null for none.</summary>
    public string? Tag { get; set; } = "\"one\"";

    /// <summary>Last-Modified as sent; null for none.</summary>
    public string? LastModified { get; set; } = "Wed, 21 Oct 2015 07:28:00 GMT";

    /// <summary>Answers with the file, or that it has not changed.</summary>
    public async Task AnswerAsync(HttpContext context)
    {
        if (LastModified is not null)
            context.Response.Headers.LastModified = LastModified;
        if (Tag is not null)
            context.Response.Headers.ETag = Tag;
        if (Tag is not null && context.Request.Headers.IfNoneMatch.ToString().Split(", ").Contains(Tag.Replace("W/", "", StringComparison.Ordinal)))
        {
            context.Response.StatusCode = 304;
            return;
        }
        context.Response.ContentLength = Content.Length;
        if (context.Request.Method != "HEAD")
            await context.Response.Body.WriteAsync(Content);
    }
}
