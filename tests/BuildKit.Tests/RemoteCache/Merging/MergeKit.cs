using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.Local;
using BuildKit.RemoteCache.Config;
using BuildKit.Tests.RemoteCache.Stores;

namespace BuildKit.Tests.RemoteCache.Merging;

/// <summary>Small branches of one project: a shared root and step, and a step of each one's own.</summary>
internal sealed class MergeKit
{
    /// <summary>Their layers.</summary>
    public MemoryProvider Blobs { get; } = new();

    /// <summary>The cache one branch exports.</summary>
    public Task<MarshalledCache> BranchAsync(string name, string createdAt = "2026-11-20T00:00:00Z", int size = 1000)
    {
        var root = new CacheNode(Digest.Sha256("root"));
        var common = new CacheNode(Digest.Sha256("common"));
        common.LinkFrom(root, 0, default);
        var own = new CacheNode(Digest.Sha256("step " + name));
        own.LinkFrom(common, 0, default);
        common.Results.Add(new CacheNodeResult(new([Layer("common", 100)], Blobs), Rfc3339Time.Parse("2026-11-01T00:00:00Z")));
        own.Results.Add(new CacheNodeResult(new([Layer("common", 100), Layer(name, size)], Blobs), Rfc3339Time.Parse(createdAt)));
        return CacheMarshaller.MarshalAsync([root, common, own], default);
    }

    /// <summary>A layer with bytes of its own.</summary>
    public Descriptor Layer(string name, int size)
    {
        var bytes = new byte[size];
        new Random(name.GetHashCode(StringComparison.Ordinal)).NextBytes(bytes);
        var layer = Descriptor.Of(MediaTypes.OciLayerGzip, bytes) with { Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { ["containerd.io/uncompressed"] = Digest.Sha256("diff " + name).ToString() } };
        lock (Blobs)
            Blobs.Blobs[layer.Digest] = bytes;
        return layer;
    }

    /// <summary>Of these branches, those whose step is in a cache with its result.</summary>
    public static IEnumerable<string> Steps(MarshalledCache cache, params string[] names) =>
        names.Where(name => cache.Config.Records.Any(record => record.Digest == Digest.Sha256("step " + name) && record.Results.Count > 0));

    /// <summary>Exports as a daemon of its own would: nothing is shared with other exports but the store.</summary>
    public static async Task ExportAsync(string type, IReadOnlyDictionary<string, string> attributes, MarshalledCache cache, TimeProvider time, CancellationToken cancellationToken = default) =>
        await (await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync(type, attributes, StoreKit.Context(time: time), default)).WriteAsync(cache, StoreKit.Progress(), cancellationToken);

    /// <summary>What an import sees: the union of its graphs.</summary>
    public static async Task<MarshalledCache> ImportAsync(string type, IReadOnlyDictionary<string, string> attributes, TimeProvider time)
    {
        // Limits below a minute are waits to a clock that jumps, not ends.
        if (type == "registry")
            attributes = new Dictionary<string, string>(attributes, StringComparer.Ordinal) { ["timeout"] = "10m" };
        var import = await CacheBackendRegistry.WithBuiltIns().ResolveImporterAsync(type, attributes, StoreKit.Context(time: time), default);
        return await CacheMarshaller.MarshalAsync((await import.ReadAsync(StoreKit.Progress(), default)).SelectMany(graph => graph), default);
    }
}

/// <summary>A cache directory as a client serves it, and joins into its index what a build exported.</summary>
internal sealed class MergeDirectory(string path) : IClientContentStore
{
    /// <summary>The directory.</summary>
    public OciLayout Layout { get; } = new(path);

    public Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken) =>
        Task.FromResult(Layout.HasBlob(digest) ? new FileInfo(Layout.BlobPath(digest)).Length : (long?)null);

    public Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken)
    {
        var stream = Layout.OpenBlob(digest);
        stream.Position = offset;
        return Task.FromResult(stream);
    }

    public Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken) =>
        Layout.WriteBlobAsync(descriptor.Digest, descriptor.Size, content, cancellationToken);

    /// <summary>Exports as daemon and client do together.</summary>
    public async Task ExportAsync(IReadOnlyDictionary<string, string> attributes, MarshalledCache cache, TimeProvider time)
    {
        var context = StoreKit.Context(time: time) with { OpenClientStore = (_, _) => Task.FromResult<IClientContentStore?>(this) };
        var answer = await (await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("local", attributes, context, default)).WriteAsync(cache, StoreKit.Progress(), default);
        var manifest = Descriptor.Parse(System.Text.Encoding.UTF8.GetBytes(answer["cache.manifest"]));
        await Layout.ChangeTagAsync("latest", async current => await LocalCacheMerge.JoinAsync(Layout, current, manifest, attributes, time, default), default);
    }
}
