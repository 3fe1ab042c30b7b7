using BuildKit.CommandLine;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Merging;

/// <summary>How much of a shared cache is kept.</summary>
/// <param name="KeepDuration">Results that no build exported for so long go; null keeps them for ever.</param>
/// <param name="KeepBytes">Size in bytes of all layers together, each counted once; what was used longest ago goes first; null
/// for no limit.</param>
public sealed record CacheLimits(TimeSpan? KeepDuration, long? KeepBytes)
{
    /// <summary>No limits.</summary>
    public static CacheLimits None { get; } = new(null, null);

    /// <summary>Whether there is any limit.</summary>
    public bool IsAny => KeepDuration is not null || KeepBytes is not null;

    /// <summary>Reads <c>keep-duration</c> and <c>keep-bytes</c>.</summary>
    /// <exception cref="FormatException">One of them cannot be read.</exception>
    public static CacheLimits Read(IReadOnlyDictionary<string, string> attributes)
    {
        TimeSpan? duration = null;
        if (attributes.TryGetValue("keep-duration", out var text))
        {
            duration = GoDuration.TryParse(text, out var parsed) && parsed > TimeSpan.Zero
                ? parsed
                : throw new FormatException($"failed to parse keep-duration: {GoSyntax.Quote(text)} is no duration above zero, for example 72h");
        }
        long? bytes = null;
        if (attributes.TryGetValue("keep-bytes", out text))
        {
            bytes = ByteSize.TryParse(text, out var size) && size > 0
                ? size
                : throw new FormatException($"failed to parse keep-bytes: {GoSyntax.Quote(text)} is no size above zero, for example 10GB");
        }
        return new CacheLimits(duration, bytes);
    }

    /// <summary>What is kept of a graph: pinned records always; of the others the results within the limits, latest used first,
    /// and the records that lead to a kept one.</summary>
    /// <param name="nodes">A graph in normal form; its nodes lose the results that go.</param>
    /// <param name="now">Time from which ages count.</param>
    /// <param name="mostResults">At most so many results of records that are not pinned.</param>
    public IReadOnlyList<CacheNode> Apply(IReadOnlyList<CacheNode> nodes, DateTimeOffset now, int mostResults = int.MaxValue)
    {
        if (!IsAny && mostResults == int.MaxValue)
            return nodes;
        var counted = new HashSet<Digest>();
        var total = 0L;
        var oldest = KeepDuration is { } keep ? Rfc3339Time.From(now - keep) : default;
        var kept = 0;
        foreach (var node in nodes.Where(node => node.Results.Count > 0).OrderByDescending(node => node.IsPinned).ThenByDescending(LastUsed).ThenBy(node => node.Digest))
        {
            var layers = node.Results[0].Layers.Descriptors;
            var more = layers.Where(layer => !counted.Contains(layer.Digest)).DistinctBy(layer => layer.Digest).Sum(layer => layer.Size);
            if (!node.IsPinned && ((KeepDuration is not null && LastUsed(node) < oldest) || (KeepBytes is { } most && total + more > most) || ++kept > mostResults))
            {
                node.Results.Clear();
                continue;
            }
            total += more;
            counted.UnionWith(layers.Select(layer => layer.Digest));
        }
        return Leading(nodes);
    }

    private static Rfc3339Time LastUsed(CacheNode node) => node.UsedAt ?? node.Results[0].CreatedAt;

    /// <summary>The records with a result or pinned, and all below them, in their order.</summary>
    private static List<CacheNode> Leading(IReadOnlyList<CacheNode> nodes)
    {
        var needed = new HashSet<CacheNode>(ReferenceEqualityComparer.Instance);
        var pending = new Stack<CacheNode>(nodes.Where(node => node.IsPinned || node.Results.Count > 0));
        while (pending.TryPop(out var node))
        {
            if (!needed.Add(node))
                continue;
            foreach (var link in node.Inputs.SelectMany(links => links))
                pending.Push(link.Source);
        }
        return [.. nodes.Where(needed.Contains)];
    }
}

/// <summary>How an export joins the cache that is there already.</summary>
/// <param name="Limits">What is kept of it.</param>
/// <param name="LargestConfig">Most bytes of the config: some kinds of stores are read by importers with a limit.</param>
public sealed record MergeOptions(CacheLimits Limits, int LargestConfig = int.MaxValue)
{
    /// <summary>The options of an export with <c>merge=true</c>, null for one that replaces what is there.</summary>
    /// <exception cref="FormatException">An attribute cannot be read, or limits are given without <c>merge=true</c>.</exception>
    public static MergeOptions? Read(IReadOnlyDictionary<string, string> attributes, int largestConfig = int.MaxValue)
    {
        var limits = CacheLimits.Read(attributes);
        if (CacheAttributes.Flag(attributes, "merge", fallback: false))
            return new MergeOptions(limits, largestConfig);
        return limits.IsAny ? throw new FormatException("keep-duration and keep-bytes need merge=true: without it every export replaces the cache") : null;
    }
}
