using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>A registry in memory that lets everybody do everything, as plain as they come: tags are replaced without conditions.</summary>
internal sealed class MemoryRegistry : IAsyncDisposable
{
    private StubServer _server = null!;

    /// <summary>Manifests by <c>repository/digest</c>, with their types.</summary>
    public ConcurrentDictionary<string, (string Type, byte[] Bytes)> Manifests { get; } = new(StringComparer.Ordinal);

    /// <summary>Digests by <c>repository:tag</c>.</summary>
    public ConcurrentDictionary<string, string> Tags { get; } = new(StringComparer.Ordinal);

    /// <summary>Blobs by digest.</summary>
    public ConcurrentDictionary<string, byte[]> Blobs { get; } = new(StringComparer.Ordinal);

    /// <summary>Requests so far: method and path.</summary>
    public ConcurrentQueue<string> Requests => _server.Requests;

    /// <summary>Called when a tag is about to be moved; answers instead when it returns a status.</summary>
    public Func<string, Task<int?>> BeforeMove { get; set; } = _ => Task.FromResult<int?>(null);

    public string Host => _server.Host;

    public int Port => _server.Port;

    public static async Task<MemoryRegistry> StartAsync()
    {
        var registry = new MemoryRegistry();
        registry._server = await StubServer.StartAsync((context, _) => registry.AnswerAsync(context));
        return registry;
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    /// <summary>The manifest of a tag, which is named <c>repository:tag</c>.</summary>
    public byte[] Manifest(string tag) => Manifests[$"{tag[..tag.IndexOf(':', StringComparison.Ordinal)]}/{Tags[tag]}"].Bytes;

    private async Task AnswerAsync(HttpContext context)
    {
        var parts = context.Request.Path.Value!.Split('/'); // "", v2, repository (one part or more), kind, name
        var at = Array.FindLastIndex(parts, static part => part is "blobs" or "manifests");
        var (repository, kind, name) = (string.Join('/', parts[2..at]), parts[at], parts[^1]);
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        switch (kind, context.Request.Method)
        {
            case ("blobs", "POST"):
                context.Response.Headers.Location = $"/v2/{repository}/blobs/uploads/1";
                context.Status(202);
                break;
            case ("blobs", "PUT"):
                Blobs[context.Request.Query["digest"]!] = body.ToArray();
                context.Response.Headers["Docker-Content-Digest"] = context.Request.Query["digest"];
                context.Status(201);
                break;
            case ("blobs", _):
                await SendAsync(context, "application/octet-stream", Blobs.GetValueOrDefault(name), name);
                break;
            case ("manifests", "PUT"):
                if (await BeforeMove(name) is { } status)
                {
                    context.Status(status);
                    break;
                }
                var digest = Digest.Sha256(body.ToArray()).ToString();
                Manifests[$"{repository}/{digest}"] = (context.Request.ContentType!, body.ToArray());
                Tags[$"{repository}:{name}"] = digest;
                context.Response.Headers["Docker-Content-Digest"] = digest;
                context.Status(201);
                break;
            default:
                var found = Tags.GetValueOrDefault($"{repository}:{name}", name);
                var manifest = Manifests.TryGetValue($"{repository}/{found}", out var there) ? there : default;
                await SendAsync(context, manifest.Type, manifest.Bytes, found);
                break;
        }
    }

    private static async Task SendAsync(HttpContext context, string type, byte[]? bytes, string digest)
    {
        if (bytes is null)
        {
            context.Status(404);
            return;
        }
        context.Response.ContentType = type;
        context.Response.ContentLength = bytes.Length;
        context.Response.Headers["Docker-Content-Digest"] = digest;
        if (context.Request.Method == "GET")
            await context.Response.Body.WriteAsync(bytes);
    }
}
