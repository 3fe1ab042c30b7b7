using System.Collections.Concurrent;
using BuildKit.Llb;
using BuildKit.Protocol.Pb;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Import;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Exec;

namespace BuildKit.Daemon.Solving;

/// <summary>The cache mounts one build uses, and the imported caches that may give a new one its first content. Mounts on a base
/// of their own (<c>from</c>, <c>uid</c>, <c>gid</c>, <c>mode</c>) do not travel.</summary>
public sealed class BuildCacheMounts : IDisposable
{
    private readonly CacheMountTransfer _transfer;
    private readonly Job _job;
    private readonly IDisposable _offer;
    private readonly ConcurrentDictionary<string, bool> _ids = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<ImportedCache, CacheMountSelection> _imports = new();

    /// <summary>The mounts of a build; from now on its imports are asked when a directory is new.</summary>
    public BuildCacheMounts(CacheMounts mounts, CacheMountTransfer transfer, Job job)
    {
        _transfer = transfer;
        _job = job;
        _offer = mounts.OfferSeeds(SeedAsync);
    }

    /// <summary>Notes the mounts of a definition. Those that are to start anew are never given content.</summary>
    public void Use(LlbGraph graph)
    {
        foreach (var mount in graph.Vertices.Where(vertex => vertex.Op.Exec is not null).SelectMany(vertex => vertex.Op.Exec.Mounts))
        {
            if (mount.MountType != MountType.Cache || mount.Input >= 0)
                continue;
            var id = mount.CacheOpt?.ID is { Length: > 0 } given ? given : mount.Dest;
            _ids[id] = graph.PrunedCacheIds.ContainsKey(id);
        }
    }

    /// <summary>Notes an import whose mounts may be used.</summary>
    public void Import(ICacheManager import, IReadOnlyDictionary<string, string> attributes)
    {
        if (import is ImportedCache cache && CacheMountSelection.Read(attributes) is { } selection)
            _imports.TryAdd(cache, selection);
    }

    /// <summary>The selected mounts this build uses, as layers. One that was not needed, because every step came from a cache, is
    /// passed on from the import that has it.</summary>
    public async Task<IReadOnlyList<CacheMountLayer>> CollectAsync(
        CacheMountSelection selection, CompressionOptions compression, Action<string> log, CancellationToken cancellationToken)
    {
        List<CacheMountLayer> layers = [];
        foreach (var id in _ids.Keys.Where(selection.Includes).Order(StringComparer.Ordinal))
        {
            try
            {
                if (await _transfer.CaptureAsync(id, compression, cancellationToken) is { } captured)
                    layers.Add(captured);
                else if (await FindAsync(id, cancellationToken) is { } found)
                    layers.Add(found.Mount);
                else
                    log($"cache mount {id} is empty or in use by a step of its own: left out\n");
            }
            catch (IOException failure)
            {
                // Documented: other builds may change a shared mount while it is read; the cache is good without it.
                log($"warning: cache mount {id} was left out: {failure.Message}\n");
            }
        }
        return layers;
    }

    /// <inheritdoc/>
    public void Dispose() => _offer.Dispose();

    private async Task<IImmutableRef?> SeedAsync(string id, CancellationToken cancellationToken)
    {
        if (!_ids.TryGetValue(id, out var startsAnew) || startsAnew || await FindAsync(id, cancellationToken) is not { } found)
            return null;
        try
        {
            return await _job.InContextAsync(
                $"importing cache mount {id} from {found.From}", (_, token) => _transfer.OpenAsync(found.Mount, found.SessionBound, found.From, token), cancellationToken);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            // Documented: the step shows the error, the mount starts empty as it would without the import.
            return null;
        }
    }

    private async Task<(CacheMountLayer Mount, bool SessionBound, string From)?> FindAsync(string id, CancellationToken cancellationToken)
    {
        foreach (var (cache, selection) in _imports.OrderBy(import => import.Key.Id, StringComparer.Ordinal))
        {
            if (!selection.Includes(id))
                continue;
            var (mounts, sessionBound) = await cache.GetMountsAsync(cancellationToken);
            if (mounts.FirstOrDefault(mount => mount.Mount.Id == id) is { } found)
                return (found, sessionBound, cache.Id);
        }
        return null;
    }
}
