using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.RemoteCache.Backends.Local;

/// <summary>Prunes a cache directory: applies limits to one tag, then removes the blobs that no tag needs. The index is locked
/// meanwhile.</summary>
internal sealed class LocalCachePruner(OciLayout layout, string tag) : IPrunableCache
{
    private const int LargestReadable = 64 << 20;

    public async Task<CachePruning> PruneAsync(CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken)
    {
        if (!Directory.Exists(layout.DirectoryPath))
            throw new RemoteCacheException($"no cache at {layout.DirectoryPath}");
        var reader = new ManifestReader(new LayoutBlobProvider(layout));
        var (before, after) = (0, 0);
        IReadOnlyList<Digest> grace = [];
        await layout.ChangeTagAsync(tag, async current =>
        {
            if (current is null)
                throw new RemoteCacheException($"{layout.DirectoryPath}/index.json has no tag {tag}");
            var document = await reader.ReadAsync(current, LargestReadable, cancellationToken).ConfigureAwait(false);
            if (await reader.ReadCacheAsync(document, LargestReadable, cancellationToken).ConfigureAwait(false) is not { } there)
                return null;
            var limited = await CachePruner.LimitAsync(there.Cache, request, time, cancellationToken).ConfigureAwait(false);
            (before, after) = (CachePruner.Results(there.Cache), CachePruner.Results(limited));
            grace = CachePruner.Grace(there.Cache, request);
            return CachePruner.IsSame(there.Cache, limited) ? null : await LocalCacheMerge.WriteAsync(layout, limited, document, cancellationToken).ConfigureAwait(false);
        }, cancellationToken).ConfigureAwait(false);

        IReadOnlyList<(string, long)> removed = [];
        var young = 0L;
        await layout.ChangeTagAsync(tag, async _ =>
        {
            HashSet<Digest> needed = [.. grace];
            foreach (var root in (await layout.ReadIndexAsync(cancellationToken).ConfigureAwait(false)).Manifests)
                await NeedAsync(reader, root, needed, cancellationToken).ConfigureAwait(false);
            (removed, young) = await CachePruner.SweepAsync(Blobs(), needed, request, time.GetUtcNow(), (digest, modified) =>
            {
                var path = layout.BlobPath(digest);
                if (File.GetLastWriteTimeUtc(path) > modified.UtcDateTime)
                    return Task.FromResult(false);
                File.Delete(path);
                return Task.FromResult(true);
            }).ConfigureAwait(false);
            return null;
        }, cancellationToken).ConfigureAwait(false);
        return new CachePruning(before, after, removed, young);
    }

    /// <summary>A document and everything it names.</summary>
    private static async Task NeedAsync(ManifestReader reader, Descriptor root, HashSet<Digest> needed, CancellationToken cancellationToken)
    {
        if (!needed.Add(root.Digest))
            return;
        var document = await reader.ReadAsync(root, LargestReadable, cancellationToken).ConfigureAwait(false);
        if (document.Config is { } config)
            needed.Add(config.Digest);
        else if (document.IsImage)
            needed.Add(Manifest.Parse(document.Json).Config.Digest);
        foreach (var entry in document.Layers)
        {
            if (MediaTypes.IsManifest(entry.MediaType) || MediaTypes.IsIndex(entry.MediaType))
                await NeedAsync(reader, entry, needed, cancellationToken).ConfigureAwait(false);
            else
                needed.Add(entry.Digest);
        }
    }

    private IEnumerable<(Digest, long, DateTimeOffset)> Blobs()
    {
        var blobs = new DirectoryInfo(Path.Combine(layout.DirectoryPath, "blobs"));
        foreach (var file in blobs.Exists ? blobs.EnumerateFiles("*", SearchOption.AllDirectories).ToList() : [])
        {
            if (Digest.TryParse($"{file.Directory!.Name}:{file.Name}", out var digest))
                yield return (digest, file.Length, file.LastWriteTimeUtc);
        }
    }
}
