using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;

namespace BuildKit.RemoteCache.Tools;

/// <summary>What goes from a cache.</summary>
/// <param name="Limits">What is kept of its results; none keeps all and only removes layers that nothing names.</param>
/// <param name="MinimumAge">Layers younger than this stay: an export under way sends layers, or makes them young, before its config
/// names them. With one above zero, layers that lost their last name just now stay until the next time, because an export under way
/// may have seen that name.</param>
public sealed record CachePruneRequest(CacheLimits Limits, TimeSpan MinimumAge);

/// <summary>What went from a cache.</summary>
/// <param name="ResultsBefore">Results before.</param>
/// <param name="ResultsAfter">Results that are left.</param>
/// <param name="Removed">Layers that were removed.</param>
/// <param name="Young">Bytes of layers that nothing names and that must stay for now.</param>
/// <param name="Remark">What the store does by itself; empty for nothing.</param>
public sealed record CachePruning(int ResultsBefore, int ResultsAfter, IReadOnlyList<(string Name, long Size)> Removed, long Young, string Remark = "");

/// <summary>A cache whose store lets things be removed.</summary>
internal interface IPrunableCache
{
    /// <summary>Applies the limits, then removes what nothing names.</summary>
    Task<CachePruning> PruneAsync(CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken);
}

/// <summary>Parts of pruning that all stores share.</summary>
internal static class CachePruner
{
    /// <summary>Number of results of a cache.</summary>
    public static int Results(MarshalledCache cache) => cache.Config.Records.Count(record => record.Results.Count > 0);

    /// <summary>Whether nothing went.</summary>
    public static bool IsSame(MarshalledCache before, MarshalledCache after) => Results(before) == Results(after) && before.Config.Mounts.Count == after.Config.Mounts.Count;

    /// <summary>The cache within limits.</summary>
    public static Task<MarshalledCache> LimitAsync(MarshalledCache cache, CachePruneRequest request, TimeProvider time, CancellationToken cancellationToken) =>
        CacheMerge.LimitAsync(cache, new MergeOptions(request.Limits), time.GetUtcNow(), cancellationToken);

    /// <summary>Layers of a cache that stay although limits may take their names away: see <see cref="CachePruneRequest.MinimumAge"/>.</summary>
    public static IReadOnlyList<Digest> Grace(MarshalledCache before, CachePruneRequest request) => request.MinimumAge > TimeSpan.Zero ? [.. before.Layers] : [];

    /// <summary>Removes objects that nothing names and that are old enough.</summary>
    /// <param name="objects">All layers of the store.</param>
    /// <param name="named">Digests that some cache names.</param>
    /// <param name="request">How old they must be.</param>
    /// <param name="now">Time from which ages count.</param>
    /// <param name="delete">Removes one that was not changed since the given time; false when it was.</param>
    public static async Task<(IReadOnlyList<(string Name, long Size)> Removed, long Young)> SweepAsync(
        IEnumerable<(Digest Digest, long Size, DateTimeOffset LastModified)> objects, IReadOnlySet<Digest> named, CachePruneRequest request, DateTimeOffset now, Func<Digest, DateTimeOffset, Task<bool>> delete)
    {
        List<(string, long)> removed = [];
        var young = 0L;
        foreach (var (digest, size, modified) in objects)
        {
            if (named.Contains(digest))
                continue;
            if (now - modified >= request.MinimumAge && await delete(digest, modified).ConfigureAwait(false))
                removed.Add((digest.ToString(), size));
            else
                young += size;
        }
        return (removed, young);
    }
}
