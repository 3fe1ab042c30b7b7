using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Merging;

/// <summary>
/// Joins caches: the union of their records in the graph's normal form, so that records all of them have exist once, with
/// the links of all and the newest result. The result is a complete cache that any reader of the format understands.
/// </summary>
public static class CacheMerge
{
    // A record that is used again within this time keeps the time that was noted: repeated exports give the same bytes.
    private static readonly TimeSpan Coarse = TimeSpan.FromHours(1);

    /// <summary>Joins an export with what is there.</summary>
    /// <param name="own">The export; never touched by the limits, and noted as used now. The result names its parts.</param>
    /// <param name="others">Caches found at the target; their layers are believed to be there.</param>
    /// <param name="options">Limits.</param>
    /// <param name="now">The time of the export.</param>
    /// <param name="cancellationToken">Ends the checks of the export's layers.</param>
    public static async Task<MarshalledCache> JoinAsync(
        MarshalledCache own, IEnumerable<MarshalledCache> others, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken)
    {
        List<CacheNode> nodes = [];
        var usedAt = new Dictionary<Digest, Rfc3339Time>();
        var parts = own.Config.Parts;
        List<CacheMountLayer> mounts = [];
        foreach (var other in others)
        {
            mounts.AddRange(CacheMountLayer.In(other.Config, NoBlobs.Instance));
            foreach (var node in CacheParser.Parse(other.Config, Believed(other.Blobs)))
            {
                nodes.Add(node);
                if (node.UsedAt is { } noted && noted > usedAt.GetValueOrDefault(node.Digest))
                    usedAt[node.Digest] = noted;
            }
        }
        var coarse = options.Limits.KeepDuration is { } keep && keep / 2 < Coarse ? keep / 2 : Coarse;
        foreach (var node in CacheParser.Parse(own.Config, own.Blobs))
        {
            node.IsPinned = true;
            node.UsedAt = usedAt.TryGetValue(node.Digest, out var noted) && now - noted.ToDateTimeOffset() is var age && age < coarse && age >= TimeSpan.Zero
                ? noted
                : Rfc3339Time.FromUnixSeconds(now.ToUnixTimeSeconds());
            nodes.Add(node);
        }
        var ids = own.Config.Mounts.Select(mount => mount.Id).ToHashSet(StringComparer.Ordinal);
        var ownMounts = own.Config.Mounts.Select(mount =>
        {
            var there = mounts.Find(other => other.Mount.Id == mount.Id && other.Mount.Blob == mount.Blob)?.Mount.UsedAt;
            var isFresh = there is { } noted && now - noted.ToDateTimeOffset() is var age && age < coarse && age >= TimeSpan.Zero;
            return new CacheMountLayer(mount with { UsedAt = isFresh ? there : Rfc3339Time.FromUnixSeconds(now.ToUnixTimeSeconds()) }, own.Blobs[mount.Blob]);
        }).ToList();
        var joined = await LimitAsync(nodes, parts, options, now, cancellationToken).ConfigureAwait(false);
        return joined.With([.. ownMounts, .. Within(Newest(mounts).Where(mount => !ids.Contains(mount.Mount.Id)), joined, ownMounts, options.Limits, now)]);
    }

    /// <summary>The union of caches that are there, without limits.</summary>
    public static async Task<MarshalledCache> UniteAsync(IReadOnlyList<MarshalledCache> caches, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var nodes = caches.SelectMany(cache => CacheParser.Parse(cache.Config, Believed(cache.Blobs))).ToList();
        var united = await LimitAsync(nodes, caches[0].Config.Parts, new MergeOptions(CacheLimits.None), now, cancellationToken).ConfigureAwait(false);
        return united.With(Newest(caches.SelectMany(cache => CacheMountLayer.In(cache.Config, NoBlobs.Instance))));
    }

    /// <summary>Of each mount the content that was used last.</summary>
    public static IReadOnlyList<CacheMountLayer> Newest(IEnumerable<CacheMountLayer> mounts) =>
        [.. mounts.GroupBy(mount => mount.Mount.Id, StringComparer.Ordinal).Select(same => same.MaxBy(mount => mount.Mount.UsedAt ?? default)!)];

    /// <summary>The mounts of others that limits leave.</summary>
    private static List<CacheMountLayer> Within(
        IEnumerable<CacheMountLayer> mounts, MarshalledCache cache, IEnumerable<CacheMountLayer> own, CacheLimits limits, DateTimeOffset now)
    {
        var total = cache.Blobs.Values.Sum(blob => blob.Descriptor.Size) + own.Sum(mount => mount.Mount.Layer.Size);
        List<CacheMountLayer> kept = [];
        foreach (var mount in mounts.OrderByDescending(mount => mount.Mount.UsedAt ?? default).ThenBy(mount => mount.Mount.Id, StringComparer.Ordinal))
        {
            var isOld = limits.KeepDuration is { } keep && mount.Mount.UsedAt is { } usedAt && usedAt < Rfc3339Time.From(now - keep);
            if (isOld || (limits.KeepBytes is { } most && total + mount.Mount.Layer.Size > most))
                continue;
            total += mount.Mount.Layer.Size;
            kept.Add(mount);
        }
        return kept;
    }

    /// <summary>Applies limits to a cache.</summary>
    public static async Task<MarshalledCache> LimitAsync(MarshalledCache cache, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var limited = await LimitAsync(CacheParser.Parse(cache.Config, Believed(cache.Blobs)), cache.Config.Parts, options, now, cancellationToken).ConfigureAwait(false);
        return limited.With(Within(CacheMountLayer.In(cache.Config, NoBlobs.Instance), limited, [], options.Limits, now));
    }

    private static async Task<MarshalledCache> LimitAsync(
        IReadOnlyList<CacheNode> nodes, IReadOnlyList<string>? parts, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var most = int.MaxValue;
        while (true)
        {
            var kept = options.Limits.Apply(CacheGraph.Normalize(nodes), now, most);
            var marshalled = await CacheMarshaller.MarshalAsync(kept, cancellationToken).ConfigureAwait(false);
            marshalled = marshalled with { Config = marshalled.Config with { Parts = parts } };
            var free = kept.Count(node => !node.IsPinned && node.Results.Count > 0);
            if (free == 0 || marshalled.Config.ToJson().Length <= options.LargestConfig)
                return marshalled;
            most = free / 2;
        }
    }

    private static Dictionary<Digest, LayerBlob> Believed(IReadOnlyDictionary<Digest, LayerBlob> blobs) =>
        blobs.ToDictionary(blob => blob.Key, blob => blob.Value with { Provider = new BelievedBlobs(blob.Value.Provider) });
}
