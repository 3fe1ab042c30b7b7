using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>Applies limits to the cache a name points at. Layers are left to the registry, which removes what no manifest names.
/// An export that joins meanwhile notices that it was overwritten and joins again.</summary>
internal sealed class ManifestPruner(IJoinableTarget target) : IPrunableCache
{
    private const int MostAttempts = 20;
    private const string Remark = "the registry's garbage collection frees the layers";

    public async Task<CachePruning> PruneAsync(CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken)
    {
        var reader = new SharedManifestReader(target, time);
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            var there = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
            var main = there.Main ?? throw new RemoteCacheException($"no cache at {target.Place}");
            if (main.Cache is not { } cache)
                throw new RemoteCacheException($"{target.Place} is no cache of its own; one inside an image is pruned with the image");
            if (there.Second?.Cache is { } second)
                cache = await CacheMerge.UniteAsync([cache, second], time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
            var limited = await CachePruner.LimitAsync(cache, request, time, cancellationToken).ConfigureAwait(false);
            var (before, after) = (CachePruner.Results(cache), CachePruner.Results(limited));
            if (CachePruner.IsSame(cache, limited))
                return new CachePruning(before, after, [], 0, Remark);
            var document = ManifestDocument.Of(limited, main.Document.MediaType is MediaTypes.OciIndex or MediaTypes.OciManifest, main.Document.IsImage);
            await target.WriteConfigAsync(document.Config, document.ConfigJson, static _ => { }, cancellationToken).ConfigureAwait(false);
            // Only where exports have one: else it would bring back later what a plain export replaced.
            var isReady = cache.Config.Parts is null
                || await target.MoveAsync(CacheTag.Second, document.Manifest, document.ManifestJson, [there.SecondDigest], looked: null, cancellationToken).ConfigureAwait(false) != MoveOutcome.Changed;
            if (isReady && await target.MoveAsync(CacheTag.Main, document.Manifest, document.ManifestJson, there.Digests, looked: null, cancellationToken).ConfigureAwait(false) == MoveOutcome.Moved)
                return new CachePruning(before, after, [.. Gone(cache, limited)], 0, Remark);
            await ConditionalMerge.PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }
        throw new RemoteCacheException($"{target.Place} was changed by others {MostAttempts} times while it was pruned");
    }

    private static IEnumerable<(string, long)> Gone(MarshalledCache before, MarshalledCache after) =>
        before.Blobs.Values.Where(blob => !after.Blobs.ContainsKey(blob.Descriptor.Digest)).Select(blob => (blob.Descriptor.Digest.ToString(), blob.Descriptor.Size));
}
