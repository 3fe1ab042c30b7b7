using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Config;

/// <summary>A layer blob: its descriptor and where its bytes are.</summary>
public sealed record LayerBlob(Descriptor Descriptor, IBlobProvider Provider);

/// <summary>A written graph.</summary>
/// <param name="Config">The document.</param>
/// <param name="Blobs">Every blob the document names.</param>
public sealed record MarshalledCache(CacheConfig Config, IReadOnlyDictionary<Digest, LayerBlob> Blobs)
{
    /// <summary>Layers that must be in the store, each once: those of the results in the order of their entries, then those of mounts.</summary>
    public IEnumerable<Digest> Layers => Config.Layers.Select(layer => layer.Blob).Concat(Config.Mounts.Select(mount => mount.Blob)).Distinct();

    /// <summary>The cache with the contents of cache mounts.</summary>
    public MarshalledCache With(IEnumerable<CacheMountLayer> mounts)
    {
        var blobs = new Dictionary<Digest, LayerBlob>(Blobs);
        List<CacheConfigMount> listed = [];
        foreach (var mount in mounts.OrderBy(mount => mount.Mount.Id, StringComparer.Ordinal))
        {
            listed.Add(mount.Mount);
            blobs.TryAdd(mount.Mount.Blob, mount.Layer);
        }
        return new MarshalledCache(Config with { Mounts = listed }, blobs);
    }
}

/// <summary>Writes a graph as a cache config. The order is total: equal graphs give equal bytes (spec 04 §3.4).</summary>
public static class CacheMarshaller
{
    private const string CreatedAtAnnotation = "buildkit/createdat";

    /// <summary>Normalises and writes records. Results with a blob that is gone are left out, their records stay.</summary>
    public static async Task<MarshalledCache> MarshalAsync(IEnumerable<CacheNode> nodes, CancellationToken cancellationToken)
    {
        var records = CacheGraph.Normalize(nodes);
        var blobs = new Dictionary<Digest, LayerBlob>();
        var chains = new Dictionary<string, LayerChain>(StringComparer.Ordinal);
        var results = new Dictionary<CacheNode, (LayerChain Top, Rfc3339Time CreatedAt)>(ReferenceEqualityComparer.Instance);
        foreach (var record in records)
        {
            if (record.Results.Count == 0)
                continue;
            var result = record.Results[0];
            if (result.Layers.Descriptors.Count == 0 || !await AreAvailableAsync(result.Layers, cancellationToken).ConfigureAwait(false))
                continue;
            LayerChain? top = null;
            foreach (var descriptor in result.Layers.Descriptors)
            {
                top = LayerChain.On(top, descriptor.Digest, chains);
                if (!blobs.TryGetValue(descriptor.Digest, out var known)
                    || (descriptor.Annotations.ContainsKey(CreatedAtAnnotation) && !known.Descriptor.Annotations.ContainsKey(CreatedAtAnnotation)))
                    blobs[descriptor.Digest] = new LayerBlob(descriptor, result.Layers.Provider);
            }
            results[record] = (top!, result.CreatedAt);
        }

        var layers = chains.Values.OrderBy(c => c.Blob).ThenBy(c => c.Key, StringComparer.Ordinal).ToList();
        for (var i = 0; i < layers.Count; i++)
            layers[i].Index = i;

        var shapes = new Dictionary<CacheNode, string>(ReferenceEqualityComparer.Instance);
        var ordered = records
            .OrderBy(r => r.Digest)
            .ThenBy(r => r.Inputs.Count)
            .ThenBy(LinksOf, StringComparer.Ordinal)
            .ThenBy(r => ShapeOf(r, shapes), StringComparer.Ordinal)
            .ToList();
        var indexes = new Dictionary<CacheNode, int>(ReferenceEqualityComparer.Instance);
        for (var i = 0; i < ordered.Count; i++)
            indexes[ordered[i]] = i;

        var config = new CacheConfig(
            layers.ConvertAll(l => new CacheConfigLayer(l.Blob, l.Parent?.Index ?? -1)),
            ordered.ConvertAll(record => new CacheConfigRecord(record.Digest)
            {
                Results = results.TryGetValue(record, out var result) ? [new CacheConfigResult(result.Top.Index, result.CreatedAt)] : [],
                Inputs = record.Inputs.ConvertAll<IReadOnlyList<CacheConfigLink>>(links => links
                    .Select(link => new CacheConfigLink(link.Selector.ToString(), indexes[link.Source]))
                    .OrderBy(link => link.Link)
                    .ThenBy(link => link.Selector, StringComparer.Ordinal)
                    .ToList()),
                UsedAt = record.UsedAt,
            }));
        return new MarshalledCache(config, blobs);
    }

    private static async Task<bool> AreAvailableAsync(RemoteLayers layers, CancellationToken cancellationToken)
    {
        foreach (var descriptor in layers.Descriptors)
        {
            if (await layers.Provider.StatAsync(descriptor, cancellationToken).ConfigureAwait(false) is null)
                return false;
        }
        return true;
    }

    /// <summary>What the reference orders records of equal digest by: input by input, how many links there are, then their
    /// selectors and the digests they lead to.</summary>
    private static string LinksOf(CacheNode node)
    {
        var text = new StringBuilder();
        foreach (var links in node.Inputs)
        {
            text.Append(CultureInfo.InvariantCulture, $"{links.Count:x8}");
            foreach (var link in links.OrderBy(l => l.Selector.ToString(), StringComparer.Ordinal).ThenBy(l => l.Source.Digest))
                text.Append(link.Selector).Append('\u0001').Append(link.Source.Digest).Append('\u0001');
        }
        return text.ToString();
    }

    /// <summary>A hash of a record and everything below it, so that records of equal digest have an order. Not by recursion:
    /// the graph, which has no loops, may be deeper than a thread's stack.</summary>
    private static string ShapeOf(CacheNode top, Dictionary<CacheNode, string> shapes)
    {
        var pending = new Stack<CacheNode>([top]);
        while (pending.TryPeek(out var node))
        {
            var waits = false;
            foreach (var link in node.Inputs.SelectMany(links => links))
            {
                if (shapes.ContainsKey(link.Source))
                    continue;
                pending.Push(link.Source);
                waits = true;
            }
            if (waits)
                continue;
            pending.Pop();
            if (shapes.ContainsKey(node))
                continue;
            var text = new StringBuilder(node.Digest.ToString());
            foreach (var links in node.Inputs)
            {
                text.Append('\n');
                foreach (var line in links.Select(l => shapes[l.Source] + " " + l.Selector).Order(StringComparer.Ordinal))
                    text.Append(line).Append('\t');
            }
            shapes[node] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
        }
        return shapes[top];
    }

    /// <summary>A layer on the layers below it; equal chains are one object.</summary>
    private sealed class LayerChain(Digest blob, LayerChain? parent, string key)
    {
        public Digest Blob { get; } = blob;

        public LayerChain? Parent { get; } = parent;

        /// <summary>Digests of all blobs, base first.</summary>
        public string Key { get; } = key;

        public int Index { get; set; }

        public static LayerChain On(LayerChain? parent, Digest blob, Dictionary<string, LayerChain> chains)
        {
            var key = parent is null ? blob.ToString() : parent.Key + "," + blob;
            if (!chains.TryGetValue(key, out var chain))
                chains[key] = chain = new LayerChain(blob, parent, key);
            return chain;
        }
    }
}
