using BuildKit.Oci;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Config;

/// <summary>A record of a cache graph in memory.</summary>
/// <param name="digest">Record digest.</param>
/// <param name="isDiscarded">The key must not leave this machine: the record and links to it vanish.</param>
public sealed class CacheNode(Digest digest, bool isDiscarded = false)
{
    /// <summary>Record digest.</summary>
    public Digest Digest { get; } = digest;

    /// <summary>Whether the record vanishes when the graph is written.</summary>
    public bool IsDiscarded { get; } = isDiscarded;

    /// <summary>For each input, the links that lead here.</summary>
    public List<HashSet<CacheNodeLink>> Inputs { get; } = [];

    /// <summary>Results, the main one of each kind first.</summary>
    public List<CacheNodeResult> Results { get; } = [];

    /// <summary>When a build last exported it into a shared cache; null when nobody noted it.</summary>
    public Rfc3339Time? UsedAt { get; set; }

    /// <summary>It belongs to the export under way: limits of a shared cache do not touch it.</summary>
    public bool IsPinned { get; set; }

    /// <summary>Adds a link; one from a discarded record only counts as "has this input".</summary>
    public void LinkFrom(CacheNode source, int input, Digest selector)
    {
        while (Inputs.Count <= input)
            Inputs.Add([]);
        if (!source.IsDiscarded && !IsDiscarded)
            Inputs[input].Add(new CacheNodeLink(source, selector));
    }
}

/// <summary>A link from the record of an input.</summary>
public readonly record struct CacheNodeLink(CacheNode Source, Digest Selector);

/// <summary>A result of a record.</summary>
public sealed record CacheNodeResult(RemoteLayers Layers, Rfc3339Time CreatedAt);

/// <summary>The records of one export or import, and the rules that bring them into their one normal form (spec 04 §3.3).</summary>
public static class CacheGraph
{
    /// <summary>The graph's records without unreachable ones, duplicates and loops, each with at most one result.</summary>
    public static IReadOnlyList<CacheNode> Normalize(IEnumerable<CacheNode> nodes)
    {
        var live = Copy(nodes);
        DropUnreachable(live);
        MergeEqual(live);
        RemoveLoops(live);
        foreach (var node in live)
        {
            if (node.Results.Count < 2)
                continue;
            var best = node.Results[0];
            foreach (var result in node.Results)
            {
                if (result.CreatedAt > best.CreatedAt)
                    best = result;
            }
            node.Results.Clear();
            node.Results.Add(best);
        }
        return live;
    }

    private static List<CacheNode> Copy(IEnumerable<CacheNode> nodes)
    {
        var copies = new Dictionary<CacheNode, CacheNode>(ReferenceEqualityComparer.Instance);
        List<CacheNode> order = [.. nodes.Where(n => !n.IsDiscarded)];
        foreach (var node in order)
        {
            var copy = new CacheNode(node.Digest) { UsedAt = node.UsedAt, IsPinned = node.IsPinned };
            copy.Results.AddRange(node.Results);
            copies[node] = copy;
        }
        foreach (var node in order)
        {
            foreach (var links in node.Inputs)
            {
                copies[node].Inputs.Add([.. links
                    .Where(link => copies.ContainsKey(link.Source))
                    .Select(link => link with { Source = copies[link.Source] })]);
            }
        }
        return order.ConvertAll(node => copies[node]);
    }

    /// <summary>A record with an input nothing leads to can never be found, and neither can those only it leads to.</summary>
    private static void DropUnreachable(List<CacheNode> nodes)
    {
        var users = new Dictionary<CacheNode, List<CacheNode>>(ReferenceEqualityComparer.Instance);
        foreach (var node in nodes)
        {
            foreach (var link in node.Inputs.SelectMany(links => links))
            {
                if (!users.TryGetValue(link.Source, out var list))
                    users[link.Source] = list = [];
                list.Add(node);
            }
        }
        var dropped = new HashSet<CacheNode>(ReferenceEqualityComparer.Instance);
        var pending = new Queue<CacheNode>();
        foreach (var node in nodes)
            DropIfUnreachable(node);
        while (pending.TryDequeue(out var gone))
        {
            foreach (var user in users.GetValueOrDefault(gone) ?? [])
            {
                foreach (var links in user.Inputs)
                    links.RemoveWhere(link => link.Source == gone);
                DropIfUnreachable(user);
            }
        }
        nodes.RemoveAll(dropped.Contains);

        void DropIfUnreachable(CacheNode node)
        {
            if (node.Inputs.Exists(links => links.Count == 0) && dropped.Add(node))
                pending.Enqueue(node);
        }
    }

    /// <summary>Records are the same when their inputs are, so those below are merged first: one pass does for all levels, and another
    /// one for what links that were united make the same.</summary>
    private static void MergeEqual(List<CacheNode> nodes)
    {
        while (true)
        {
            var depths = Depths(nodes);
            var replaced = new Dictionary<CacheNode, CacheNode>(ReferenceEqualityComparer.Instance);
            var kept = new Dictionary<Digest, List<CacheNode>>();
            foreach (var node in nodes.OrderBy(node => depths[node]))
            {
                Redirect(node, replaced);
                if (!kept.TryGetValue(node.Digest, out var group))
                    kept[node.Digest] = group = [];
                if (group.Find(other => AreSame(other, node)) is not { } same)
                {
                    group.Add(node);
                    continue;
                }
                for (var i = 0; i < node.Inputs.Count; i++)
                    same.Inputs[i].UnionWith(node.Inputs[i]);
                foreach (var result in node.Results.Where(r => !same.Results.Contains(r)))
                    same.Results.Add(result);
                same.IsPinned |= node.IsPinned;
                if (same.UsedAt is null || node.UsedAt > same.UsedAt)
                    same.UsedAt = node.UsedAt ?? same.UsedAt;
                replaced[node] = same;
            }
            if (replaced.Count == 0)
                return;
            nodes.RemoveAll(replaced.ContainsKey);
            foreach (var node in nodes)
                Redirect(node, replaced);
        }
    }

    private static void Redirect(CacheNode node, Dictionary<CacheNode, CacheNode> replaced)
    {
        foreach (var links in node.Inputs)
        {
            var moved = links.Where(link => replaced.ContainsKey(link.Source)).ToList();
            links.ExceptWith(moved);
            links.UnionWith(moved.Select(link => link with { Source = replaced[link.Source] }));
        }
    }

    /// <summary>How many records lead to each one, on the longest way; links that close a loop do not count. Not by recursion: the
    /// graph may be deeper than a thread's stack.</summary>
    private static Dictionary<CacheNode, int> Depths(IEnumerable<CacheNode> nodes)
    {
        var depths = new Dictionary<CacheNode, int>(ReferenceEqualityComparer.Instance);
        var entered = new HashSet<CacheNode>(ReferenceEqualityComparer.Instance);
        foreach (var start in nodes)
        {
            var pending = new Stack<CacheNode>([start]);
            while (pending.TryPeek(out var node))
            {
                var sources = node.Inputs.SelectMany(links => links).Select(link => link.Source);
                if (entered.Add(node))
                {
                    foreach (var source in sources.Where(source => !entered.Contains(source)))
                        pending.Push(source);
                    continue;
                }
                pending.Pop();
                if (!depths.ContainsKey(node))
                    depths[node] = 1 + sources.Select(source => depths.GetValueOrDefault(source)).DefaultIfEmpty().Max();
            }
        }
        return depths;
    }

    private static bool AreSame(CacheNode a, CacheNode b)
    {
        if (a.Inputs.Count != b.Inputs.Count)
            return false;
        for (var i = 0; i < a.Inputs.Count; i++)
        {
            if (!a.Inputs[i].Overlaps(b.Inputs[i]))
                return false;
        }
        return true;
    }

    private static void RemoveLoops(List<CacheNode> nodes)
    {
        var done = new HashSet<CacheNode>(ReferenceEqualityComparer.Instance);
        var path = new HashSet<CacheNode>(ReferenceEqualityComparer.Instance);
        foreach (var node in nodes.OrderBy(n => n.Digest).ToList())
            Visit(node);

        // Depth first, and not by recursion: the graph may be deeper than a thread's stack.
        void Visit(CacheNode start)
        {
            var open = new Stack<(CacheNode Node, IEnumerator<CacheNode> Below)>();
            Enter(start);
            while (open.TryPeek(out var top))
            {
                if (top.Below.MoveNext())
                {
                    Enter(top.Below.Current);
                    continue;
                }
                open.Pop();
                path.Remove(top.Node);
                if (top.Node.Inputs.Exists(links => links.Count == 0))
                    top.Node.Inputs.Clear();
            }

            void Enter(CacheNode node)
            {
                if (!done.Add(node))
                    return;
                path.Add(node);
                open.Push((node, Below(node).GetEnumerator()));
            }
        }

        IEnumerable<CacheNode> Below(CacheNode node)
        {
            foreach (var links in node.Inputs)
            {
                links.RemoveWhere(link => path.Contains(link.Source));
                foreach (var link in links.OrderBy(l => l.Source.Digest).ThenBy(l => l.Selector))
                    yield return link.Source;
            }
        }
    }
}
