using BuildKit.Oci;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>Applies limits to the cache a name points at. Layers are left to the registry, which removes what no manifest names.
/// An export that joins meanwhile notices that it was overwritten and joins again.</summary>
internal sealed class ManifestPruner(IJoinableTarget target) : IPrunableCache
{
    private const int LargestReadable = 64 << 20;
    private const int MostAttempts = 20;

    public async Task<CachePruning> PruneAsync(CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken)
    {
        var reader = new ManifestReader(target.Blobs);
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            var root = await target.FindCurrentAsync(cancellationToken).ConfigureAwait(false) ?? throw new RemoteCacheException($"no cache at {target.Place}");
            var form = await reader.ReadAsync(root, LargestReadable, cancellationToken).ConfigureAwait(false);
            if (await reader.ReadCacheAsync(form, LargestReadable, cancellationToken).ConfigureAwait(false) is not { } there)
                throw new RemoteCacheException($"{target.Place} is no cache of its own; one inside an image is pruned with the image");
            var limited = await CachePruner.LimitAsync(there.Cache, request, time, cancellationToken).ConfigureAwait(false);
            var (before, after) = (CachePruner.Results(there.Cache), CachePruner.Results(limited));
            const string remark = "the registry's garbage collection frees the layers";
            if (CachePruner.IsSame(there.Cache, limited))
                return new CachePruning(before, after, [], 0, remark);
            var document = ManifestDocument.Of(limited, form.MediaType is MediaTypes.OciIndex or MediaTypes.OciManifest, form.IsImage);
            await target.WriteConfigAsync(document.Config, document.ConfigJson, static _ => { }, cancellationToken).ConfigureAwait(false);
            if ((await target.FindCurrentAsync(cancellationToken).ConfigureAwait(false))?.Digest == root.Digest)
            {
                await target.WriteManifestAsync(document.Manifest, document.ManifestJson, static _ => { }, cancellationToken).ConfigureAwait(false);
                return new CachePruning(
                    before, after, [.. there.Cache.Blobs.Values.Where(blob => !limited.Blobs.ContainsKey(blob.Descriptor.Digest)).Select(blob => (blob.Descriptor.Digest.ToString(), blob.Descriptor.Size))], 0, remark);
            }
            await ConditionalMerge.PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }
        throw new RemoteCacheException($"{target.Place} was changed by others {MostAttempts} times while it was pruned");
    }
}
