using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>Small caches and what backends need around them.</summary>
internal static class StoreKit
{
    public static CacheBackendContext Context(IReadOnlyDictionary<string, string>? environment = null, TimeProvider? time = null) => new()
    {
        Registry = new RegistryClient(new RegistryConfig(), time),
        Credentials = StaticRegistryCredentials.Anonymous,
        OpenClientStore = (_, _) => throw new NotSupportedException(),
        Environment = name => environment?.GetValueOrDefault(name),
        Time = time ?? TimeProvider.System,
    };

    /// <summary>Asks for all blobs of a graph, once each.</summary>
    public static async Task<int> CountThereAsync(IEnumerable<CacheNode> graph)
    {
        var count = 0;
        foreach (var layers in graph.SelectMany(node => node.Results).Select(result => result.Layers))
        {
            foreach (var descriptor in layers.Descriptors)
                count += await layers.Provider.StatAsync(descriptor, default) is null ? 0 : 1;
        }
        return count;
    }

    /// <summary><c>a=1,b=2</c> as attributes; <c>@</c> stands for a host.</summary>
    public static Dictionary<string, string> Attributes(string text, string host = "") => text.Replace("@", host, StringComparison.Ordinal)
        .Split(',', StringSplitOptions.RemoveEmptyEntries).Select(p => p.Split('=', 2)).ToDictionary(p => p[0], p => p[1], StringComparer.Ordinal);

    /// <summary>A token of GitHub's cache service, valid around a time, for scopes with their permissions.</summary>
    public static string Token(DateTimeOffset now, params (string Scope, int Permission)[] scopes) => TokenOf("""{"alg":"RS256"}""", $$"""
        {"ac":"[{{string.Join(',', scopes.Select(s => $$"""{\"Scope\":\"{{s.Scope}}\",\"Permission\":{{s.Permission}}}"""))}}]","nbf":{{now.ToUnixTimeSeconds() - 60}},"exp":{{now.ToUnixTimeSeconds() + 3600}}}
        """);

    /// <summary>A token of two JSON texts.</summary>
    public static string TokenOf(string header, string claims) =>
        string.Join('.', new[] { header, claims, "signature" }.Select(part => System.Buffers.Text.Base64Url.EncodeToString(System.Text.Encoding.UTF8.GetBytes(part))));

    /// <summary>A cache of one record over a chain of layers.</summary>
    public static async Task<(MarshalledCache Cache, MemoryProvider Blobs)> CacheAsync(params int[] sizes)
    {
        var blobs = new MemoryProvider();
        List<Descriptor> layers = [];
        foreach (var size in sizes)
        {
            var bytes = new byte[size];
            new Random(size).NextBytes(bytes);
            layers.Add(Descriptor.Of(MediaTypes.OciLayerGzip, bytes) with
            {
                Annotations = new Dictionary<string, string>(StringComparer.Ordinal)
                {
                    ["containerd.io/uncompressed"] = Digest.Sha256("diff" + size).ToString(),
                    ["buildkit/createdat"] = "2026-11-20T23:53:25.5+05:30",
                },
            });
            blobs.Blobs[layers[^1].Digest] = bytes;
        }
        var root = new CacheNode(Digest.Sha256("root"));
        var top = new CacheNode(Digest.Sha256("top"));
        top.LinkFrom(root, 0, default);
        top.Results.Add(new CacheNodeResult(new(layers, blobs), Rfc3339Time.Parse("2026-11-20T23:53:26Z")));
        return (await CacheMarshaller.MarshalAsync([root, top], default), blobs);
    }

    public static CacheProgress Progress(SilentProgress? writer = null) => new(writer ?? new SilentProgress(), TimeProvider.System);
}

/// <summary>Blobs in memory.</summary>
internal sealed class MemoryProvider : IBlobProvider
{
    public Dictionary<Digest, byte[]> Blobs { get; } = [];

    public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
        Blobs.TryGetValue(descriptor.Digest, out var bytes)
            ? ValueTask.FromResult<Stream>(new MemoryStream(bytes, (int)offset, bytes.Length - (int)offset, writable: false))
            : throw new BlobNotFoundException(descriptor.Digest);

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
}
