using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Backends.Local;
using BuildKit.RemoteCache.Backends.Registry;
using BuildKit.RemoteCache.Backends.S3;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Session.Content;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Tools;

/// <summary>Where a cache is: what follows <c>--import-cache</c>.</summary>
/// <param name="Type">Type of the backend.</param>
/// <param name="Attributes">Its attributes.</param>
public sealed record CacheLocation(string Type, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>The location as people write it, without secrets.</summary>
    public override string ToString() =>
        Type == "registry" && Attributes.GetValueOrDefault("ref") is { Length: > 0 } reference ? reference
        : $"type={Type}{string.Concat(Attributes.Where(a => !IsSecret(a.Key)).OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $",{a.Key}={a.Value}"))}";

    private static bool IsSecret(string name) => name.Contains("secret", StringComparison.Ordinal) || name.Contains("token", StringComparison.Ordinal) || name.Contains("access_key", StringComparison.Ordinal);

    /// <summary>The directory of a local cache.</summary>
    internal string Directory => Attributes.GetValueOrDefault("src") is { Length: > 0 } source ? source
        : Attributes.GetValueOrDefault("dest") is { Length: > 0 } destination ? destination
        : throw new FormatException("a local cache needs src=DIRECTORY");

    /// <summary>The tag of a local cache.</summary>
    internal string Tag => Attributes.GetValueOrDefault("tag") ?? "latest";
}

/// <summary>What can be done with caches without a daemon: the same backends, with directories used directly.</summary>
public sealed class CacheTools
{
    private readonly CacheBackendRegistry _backends;
    private readonly CacheBackendContext _context;

    /// <summary>Tools over backends.</summary>
    /// <param name="backends">Known backends.</param>
    /// <param name="context">What they use; client stores are directories here, whatever it says.</param>
    public CacheTools(CacheBackendRegistry backends, CacheBackendContext context)
    {
        _backends = backends;
        _context = context with { OpenClientStore = static (name, _) => Task.FromResult<IClientContentStore?>(new DirectoryContentStore(new OciLayout(name[ContentStores.Local("").Length..]))) };
    }

    /// <summary>Reads a cache: the union of all graphs found there. Layers are not fetched.</summary>
    /// <param name="location">Where it is.</param>
    /// <param name="progress">Gets what the backend tells.</param>
    /// <param name="believe">Take layers for granted; else results of which a store says that a layer is gone are left out.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="RemoteCacheException">There is none, or it cannot be read.</exception>
    public async Task<MarshalledCache> ReadAsync(CacheLocation location, CacheProgress progress, bool believe, CancellationToken cancellationToken)
    {
        var attributes = new Dictionary<string, string>(location.Attributes, StringComparer.Ordinal);
        if (location.Type == "local")
        {
            attributes["src"] = location.Directory;
            if (!attributes.ContainsKey("digest"))
            {
                var index = await new OciLayout(location.Directory).ReadIndexAsync(cancellationToken).ConfigureAwait(false);
                attributes["digest"] = (index.FindTag(location.Tag) ?? throw new RemoteCacheException($"{location.Directory}/index.json has no tag {location.Tag}")).Digest.ToString();
            }
        }
        var backend = await _backends.ResolveImporterAsync(location.Type, attributes, _context, cancellationToken).ConfigureAwait(false);
        var graphs = await backend.ReadAsync(progress, cancellationToken).ConfigureAwait(false);
        List<CacheNode> nodes = [.. graphs.SelectMany(graph => graph)];
        if (nodes.Count == 0)
            throw new RemoteCacheException($"no cache at {location}");
        if (believe)
        {
            foreach (var node in nodes)
            {
                for (var i = 0; i < node.Results.Count; i++)
                    node.Results[i] = node.Results[i] with { Layers = new RemoteLayers(node.Results[i].Layers.Descriptors, new BelievedBlobs(node.Results[i].Layers.Provider)) };
            }
        }
        return (await CacheMarshaller.MarshalAsync(nodes, cancellationToken).ConfigureAwait(false)).With(backend.Mounts);
    }

    /// <summary>Copies a cache to another place; layers that are there are not sent. With <c>merge=true</c> at the target it joins
    /// the cache there.</summary>
    /// <returns>What was copied.</returns>
    public async Task<MarshalledCache> CopyAsync(CacheLocation source, CacheLocation target, CacheProgress progress, CancellationToken cancellationToken)
    {
        var attributes = new Dictionary<string, string>(target.Attributes, StringComparer.Ordinal);
        if (target.Type == "local")
            attributes["dest"] = target.Directory;
        var export = await _backends.ResolveExporterAsync(target.Type, attributes, _context, cancellationToken).ConfigureAwait(false);
        var cache = await ReadAsync(source, progress, believe: false, cancellationToken).ConfigureAwait(false);
        if (target.Type == "local")
            await new OciLayout(target.Directory).InitializeAsync(cancellationToken).ConfigureAwait(false);
        var answer = await export.WriteAsync(cache, progress, cancellationToken).ConfigureAwait(false);
        if (target.Type == "local" && answer.TryGetValue(ContentStores.CacheManifestKey, out var text))
        {
            var written = Descriptor.Parse(System.Text.Encoding.UTF8.GetBytes(text));
            var layout = new OciLayout(target.Directory);
            await layout.ChangeTagAsync(
                target.Tag,
                async current => await LocalCacheMerge.JoinAsync(layout, current, written, attributes, _context.Time, cancellationToken).ConfigureAwait(false),
                cancellationToken).ConfigureAwait(false);
        }
        return cache;
    }

    /// <summary>Applies limits to a cache, and removes the layers nothing names any more.</summary>
    /// <param name="location">Where it is.</param>
    /// <param name="request">What goes.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="RemoteCacheException">The type of store cannot be pruned, or the cache cannot be read.</exception>
    public async Task<CachePruning> PruneAsync(CacheLocation location, CachePruneRequest request, CancellationToken cancellationToken)
    {
        var attributes = location.Attributes;
        IPrunableCache cache = location.Type switch
        {
            "local" => new LocalCachePruner(new OciLayout(location.Directory), location.Tag),
            "registry" => RegistryCache.OpenPruner(attributes, _context),
            "s3" => S3Cache.OpenPruner(attributes, _context),
            "azblob" => await AzureBlobCache.OpenPrunerAsync(attributes, _context, cancellationToken).ConfigureAwait(false),
            _ => throw new RemoteCacheException($"a cache of type {location.Type} cannot be pruned: its store forgets by itself"),
        };
        return await cache.PruneAsync(request, _context.Time, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A directory used as the store of a session would be.</summary>
    private sealed class DirectoryContentStore(OciLayout layout) : IClientContentStore
    {
        public Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken)
        {
            var file = new FileInfo(layout.BlobPath(digest));
            return Task.FromResult(file.Exists ? file.Length : (long?)null);
        }

        public async Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken) =>
            await new LayoutBlobProvider(layout).OpenAsync(new Descriptor("", digest, 0), offset, cancellationToken).ConfigureAwait(false);

        public Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken) =>
            layout.WriteBlobAsync(descriptor.Digest, descriptor.Size, content, cancellationToken);
    }
}
