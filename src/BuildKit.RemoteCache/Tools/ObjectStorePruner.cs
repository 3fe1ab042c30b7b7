using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Tools;

/// <summary>What pruning needs of an object store.</summary>
/// <param name="Names">Names of the cache.</param>
/// <param name="ChangeAsync">Replaces the config of a name (null when there is none) by what is made of it, safely against other
/// writers; null leaves it.</param>
/// <param name="ListConfigsAsync">All configs below the prefix of manifests, those of other names and parts too.</param>
/// <param name="ReadConfigAsync">Reads one of them; null when it is gone.</param>
/// <param name="ListBlobsAsync">All layers.</param>
/// <param name="DeleteBlobAsync">Removes a layer that was not changed since the given time; false when it was.</param>
internal sealed record ObjectStoreParts(
    IReadOnlyList<string> Names,
    Func<string, Func<MarshalledCache?, Task<MarshalledCache?>>, Task> ChangeAsync,
    Func<Task<IReadOnlyList<ListedObject>>> ListConfigsAsync,
    Func<string, Task<byte[]?>> ReadConfigAsync,
    Func<Task<IReadOnlyList<ListedObject>>> ListBlobsAsync,
    Func<Digest, DateTimeOffset, Task<bool>> DeleteBlobAsync);

/// <summary>Prunes a cache in an object store. Layers are shared by all names: those that any config below the prefix names stay.</summary>
internal sealed class ObjectStorePruner(Func<CancellationToken, ObjectStoreParts> open) : IPrunableCache
{
    public async Task<CachePruning> PruneAsync(CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken)
    {
        var store = open(cancellationToken);
        var (before, after, found) = (0, 0, false);
        var named = new HashSet<Digest>();
        foreach (var name in store.Names)
        {
            var (had, left) = (0, 0);
            IReadOnlyList<Digest> layers = [];
            await store.ChangeAsync(name, async there =>
            {
                if (there is null)
                    return null;
                found = true;
                var limited = await CachePruner.LimitAsync(there, request, time, cancellationToken).ConfigureAwait(false);
                (had, left) = (CachePruner.Results(there), CachePruner.Results(limited));
                layers = CachePruner.Grace(there, request);
                return CachePruner.IsSame(there, limited) ? null : limited;
            }).ConfigureAwait(false);
            before += had;
            after += left;
            named.UnionWith(layers);
        }
        if (!found)
            throw new RemoteCacheException($"no cache of the name {string.Join(';', store.Names)}");
        var blobs = await store.ListBlobsAsync().ConfigureAwait(false);
        // After the list of layers: what came since is not in it, and what is named since is not removed.
        foreach (var config in await store.ListConfigsAsync().ConfigureAwait(false))
        {
            if (await store.ReadConfigAsync(config.Key).ConfigureAwait(false) is not { } json)
                continue;
            try
            {
                named.UnionWith(new MarshalledCache(CacheConfig.Parse(json), new Dictionary<Digest, LayerBlob>()).Layers);
            }
            catch (FormatException e)
            {
                throw new RemoteCacheException($"{config.Key} cannot be read, so it is not known which layers it needs; nothing was removed: {e.Message}", e);
            }
        }
        var objects = blobs.Select(blob => (IsBlob: Digest.TryParse(blob.Key[(blob.Key.LastIndexOf('/') + 1)..], out var digest), Digest: digest, blob.Size, blob.LastModified))
            .Where(blob => blob.IsBlob).Select(blob => (blob.Digest, blob.Size, blob.LastModified));
        var (removed, young) = await CachePruner.SweepAsync(objects, named, request, time.GetUtcNow(), store.DeleteBlobAsync).ConfigureAwait(false);
        return new CachePruning(before, after, removed, young);
    }
}
