using BuildKit.Oci;
using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Merging;

/// <summary>
/// Which layers an export may rely upon in a store that is pruned at the same time. Pruning removes layers that no list of the
/// store names and that are old. So an export relies on layers that are young (sent just now, or made young), and on those that
/// the list it replaces names: that list was there until it was replaced. Not for concurrent use by several lists.
/// </summary>
/// <param name="own">The export.</param>
/// <param name="ensure">Makes sure a layer is in the store, and young enough to stay; from several at once.</param>
internal sealed class RecentBlobs(MarshalledCache own, Func<LayerBlob, CancellationToken, ValueTask> ensure)
{
    /// <summary>Layers old enough to be removed by a pruning with the usual minimum age are made young when half of it has passed.</summary>
    public static TimeSpan Young { get; } = TimeSpan.FromMinutes(30);

    private HashSet<Digest> _named = [];

    /// <summary>The list that is to be replaced is another one than before: layers that only the former named are looked at again.</summary>
    public async Task ReplacingAsync(MarshalledCache? there, CancellationToken cancellationToken)
    {
        var named = there is null ? [] : there.Layers.ToHashSet();
        foreach (var digest in own.Layers.Where(digest => _named.Contains(digest) && !named.Contains(digest)))
            await ensure(own.Blobs[digest], cancellationToken).ConfigureAwait(false);
        _named = named;
    }

    /// <summary>Whether the list that is to be replaced names a layer.</summary>
    public bool IsNamed(Digest digest) => _named.Contains(digest);
}
