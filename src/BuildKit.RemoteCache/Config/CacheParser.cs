using BuildKit.Oci;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Config;

/// <summary>Turns a cache config into records (spec 04 §4.1).</summary>
public static class CacheParser
{
    /// <summary>The records of a config, inputs before those that use them. Results that name a blob without a descriptor are
    /// left out; their records still serve as keys.</summary>
    /// <param name="config">The document.</param>
    /// <param name="blobs">Blobs that can be had.</param>
    /// <exception cref="FormatException">An index is out of range, or records or layers form a loop.</exception>
    public static IReadOnlyList<CacheNode> Parse(CacheConfig config, IReadOnlyDictionary<Digest, LayerBlob> blobs)
    {
        var nodes = new CacheNode?[config.Records.Count];
        var inProgress = new bool[config.Records.Count];
        List<CacheNode> order = [];
        // Not by recursion: whoever wrote the document decides how deep it is.
        var pending = new Stack<int>();
        for (var i = 0; i < config.Records.Count; i++)
        {
            pending.Push(i);
            while (pending.TryPeek(out var index))
            {
                if (nodes[index] is not null)
                {
                    pending.Pop();
                    continue;
                }
                if (inProgress[index])
                {
                    pending.Pop();
                    nodes[index] = Make(config.Records[index]);
                    order.Add(nodes[index]!);
                    continue;
                }
                inProgress[index] = true;
                foreach (var link in config.Records[index].Inputs.SelectMany(links => links).Reverse())
                    Want(link.Link);
            }
        }
        return order;

        void Want(int index)
        {
            if (index < 0 || index >= config.Records.Count)
                throw new FormatException($"invalid record ID: {index}");
            if (nodes[index] is not null)
                return;
            if (inProgress[index])
                throw new FormatException("invalid looping record");
            pending.Push(index);
        }

        CacheNode Make(CacheConfigRecord record)
        {
            var node = new CacheNode(record.Digest) { UsedAt = record.UsedAt };
            for (var input = 0; input < record.Inputs.Count; input++)
            {
                while (node.Inputs.Count <= input)
                    node.Inputs.Add([]);
                foreach (var link in record.Inputs[input])
                    node.LinkFrom(nodes[link.Link]!, input, link.Selector.Length == 0 ? default : Digest.Unchecked(link.Selector));
            }
            foreach (var result in record.Results)
                AddResult(node, ChainOf(config, result.Layer), result.CreatedAt);
            foreach (var chain in record.Chains)
                AddResult(node, chain.Layers.Select(l => LayerAt(config, l).Blob).ToList(), chain.CreatedAt);
            return node;
        }

        void AddResult(CacheNode node, IReadOnlyList<Digest> chain, Rfc3339Time createdAt)
        {
            if (chain.Count == 0 || !chain.All(blobs.ContainsKey))
                return;
            var descriptors = chain.Select(d => blobs[d].Descriptor).ToList();
            var providers = chain.Select(d => blobs[d].Provider).Distinct().ToList();
            var provider = providers.Count == 1
                ? providers[0]
                : new CombinedBlobProvider(chain.Distinct().ToDictionary(d => d, d => blobs[d].Provider));
            node.Results.Add(new CacheNodeResult(new RemoteLayers(descriptors, provider), createdAt));
        }
    }

    private static IReadOnlyList<Digest> ChainOf(CacheConfig config, int top)
    {
        List<Digest> chain = [];
        var seen = new HashSet<int>();
        for (var index = top; index != -1;)
        {
            var layer = LayerAt(config, index);
            if (!seen.Add(index))
                throw new FormatException("invalid looping layer");
            chain.Add(layer.Blob);
            index = layer.Parent;
        }
        chain.Reverse();
        return chain;
    }

    private static CacheConfigLayer LayerAt(CacheConfig config, int index) =>
        index >= 0 && index < config.Layers.Count ? config.Layers[index] : throw new FormatException($"invalid layer index {index}");
}
