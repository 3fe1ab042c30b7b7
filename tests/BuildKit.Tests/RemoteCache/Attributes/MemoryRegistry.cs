using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>A registry in memory: one repository's worth of blobs for all, manifests by repository and tag or digest.</summary>
internal sealed class MemoryRegistry : IAsyncDisposable
{
    private StubServer _server = null!;

    public ConcurrentDictionary<Digest, byte[]> Blobs { get; } = new();

    /// <summary>By <c>REPOSITORY:TAG</c> and <c>REPOSITORY:DIGEST</c>.</summary>
    public ConcurrentDictionary<string, (string MediaType, byte[] Bytes)> Manifests { get; } = new(StringComparer.Ordinal);

    public string Host => _server.Host;

    public int Port => _server.Port;

    public static async Task<MemoryRegistry> StartAsync()
    {
        var registry = new MemoryRegistry();
        registry._server = await StubServer.StartAsync((context, _) => registry.AnswerAsync(context));
        return registry;
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    private async Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        var path = request.Path.Value!["/v2/".Length..];
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body);
        if (request.Method == "POST")
        {
            context.Response.Headers.Location = $"/v2/{path}upload";
            context.Status(202);
        }
        else if (path.Contains("/manifests/", StringComparison.Ordinal))
        {
            var name = path.Replace("/manifests/", ":", StringComparison.Ordinal);
            var digest = Digest.Sha256(body.ToArray());
            if (request.Method == "PUT")
                Manifests[name] = Manifests[$"{name[..name.IndexOf(':', StringComparison.Ordinal)]}:{digest}"] = (request.ContentType!, body.ToArray());
            if (Manifests.TryGetValue(name, out var manifest))
                await SendAsync(context, manifest.Bytes, manifest.MediaType, request.Method == "PUT" ? 201 : 200);
            else
                context.Status(404);
        }
        else if (request.Method == "PUT")
        {
            var digest = Digest.Parse(request.Query["digest"]!);
            Blobs[digest] = body.ToArray();
            context.Response.Headers["Docker-Content-Digest"] = digest.ToString();
            context.Status(201);
        }
        else if (Blobs.TryGetValue(Digest.Parse(path[(path.LastIndexOf('/') + 1)..]), out var blob))
            await SendAsync(context, blob, "application/octet-stream", 200);
        else
            context.Status(404);
    }

    private static async Task SendAsync(HttpContext context, byte[] bytes, string mediaType, int status)
    {
        context.Status(status);
        context.Response.ContentType = mediaType;
        context.Response.Headers["Docker-Content-Digest"] = Digest.Sha256(bytes).ToString();
        if (context.Request.Method == "PUT")
            return;
        context.Response.ContentLength = bytes.Length;
        if (context.Request.Method == "GET")
            await context.Response.Body.WriteAsync(bytes);
    }
}
