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
    /// <param name="own">The export; never touched by the limits, and noted as used now.</param>
    /// <param name="others">Caches found at the target; their layers are believed to be there.</param>
    /// <param name="options">Limits.</param>
    /// <param name="now">The time of the export.</param>
    /// <param name="cancellationToken">Ends the checks of the export's layers.</param>
    public static async Task<MarshalledCache> JoinAsync(
        MarshalledCache own, IEnumerable<MarshalledCache> others, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken)
    {
        List<CacheNode> nodes = [];
        var usedAt = new Dictionary<Digest, Rfc3339Time>();
        var hasParts = own.Config.HasParts;
        foreach (var other in others)
        {
            hasParts |= other.Config.HasParts;
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
        return await LimitAsync(nodes, hasParts, options, now, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Applies limits to a cache.</summary>
    public static Task<MarshalledCache> LimitAsync(MarshalledCache cache, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken) =>
        LimitAsync(CacheParser.Parse(cache.Config, Believed(cache.Blobs)), cache.Config.HasParts, options, now, cancellationToken);

    private static async Task<MarshalledCache> LimitAsync(
        IReadOnlyList<CacheNode> nodes, bool hasParts, MergeOptions options, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var most = int.MaxValue;
        while (true)
        {
            var kept = options.Limits.Apply(CacheGraph.Normalize(nodes), now, most);
            var marshalled = await CacheMarshaller.MarshalAsync(kept, cancellationToken).ConfigureAwait(false);
            marshalled = marshalled with { Config = marshalled.Config with { HasParts = hasParts } };
            var free = kept.Count(node => !node.IsPinned && node.Results.Count > 0);
            if (free == 0 || marshalled.Config.ToJson().Length <= options.LargestConfig)
                return marshalled;
            most = free / 2;
        }
    }

    private static Dictionary<Digest, LayerBlob> Believed(IReadOnlyDictionary<Digest, LayerBlob> blobs) =>
        blobs.ToDictionary(blob => blob.Key, blob => blob.Value with { Provider = new BelievedBlobs(blob.Value.Provider) });
}
