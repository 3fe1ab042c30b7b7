using BuildKit.Oci;
using BuildKit.RemoteCache.Config;

namespace BuildKit.RemoteCache.Tools;

/// <summary>A layer of a cache and the records whose results need it (by index).</summary>
public sealed record InventoryLayer(Descriptor Descriptor, IReadOnlyList<int> UsedBy)
{
    /// <summary>Ids of the cache mounts whose content it is.</summary>
    public IReadOnlyList<string> Mounts { get; init; } = [];
}

/// <summary>A record of a cache.</summary>
/// <param name="Index">Its number.</param>
/// <param name="Record">What the config says of it.</param>
/// <param name="Chain">Layers of its result, base first; empty when it has none.</param>
/// <param name="Dependents">Records that follow from it.</param>
public sealed record InventoryRecord(int Index, CacheConfigRecord Record, IReadOnlyList<Digest> Chain, IReadOnlyList<int> Dependents)
{
    /// <summary>When its result was made; null without one.</summary>
    public Rfc3339Time? CreatedAt => Record.Results.Count > 0 ? Record.Results[0].CreatedAt : null;
}

/// <summary>What is in a cache, from both sides: which layers a record needs, and which records need a layer.</summary>
public sealed class CacheInventory
{
    /// <summary>Takes stock of a cache.</summary>
    public CacheInventory(MarshalledCache cache)
    {
        var records = cache.Config.Records;
        var dependents = records.Select(_ => new List<int>()).ToList();
        for (var i = 0; i < records.Count; i++)
        {
            foreach (var source in records[i].Inputs.SelectMany(links => links).Select(link => link.Link).Distinct())
                dependents[source].Add(i);
        }
        Records = [.. records.Select((record, i) => new InventoryRecord(i, record, record.Results.Count > 0 ? ChainOf(cache.Config, record.Results[0].Layer) : [], dependents[i]))];
        var users = new Dictionary<Digest, List<int>>();
        foreach (var record in Records)
        {
            foreach (var layer in record.Chain.Distinct())
            {
                if (!users.TryGetValue(layer, out var list))
                    users[layer] = list = [];
                list.Add(record.Index);
            }
        }
        Layers = [.. cache.Blobs.Values.Select(blob => new InventoryLayer(blob.Descriptor, users.GetValueOrDefault(blob.Descriptor.Digest) ?? [])
            {
                Mounts = [.. cache.Config.Mounts.Where(mount => mount.Blob == blob.Descriptor.Digest).Select(mount => mount.Id)],
            })
            .OrderByDescending(layer => layer.Descriptor.Size).ThenBy(layer => layer.Descriptor.Digest)];
    }

    /// <summary>Records in the config's order.</summary>
    public IReadOnlyList<InventoryRecord> Records { get; }

    /// <summary>Layers, each blob once, the largest first.</summary>
    public IReadOnlyList<InventoryLayer> Layers { get; }

    /// <summary>Bytes of all layers, each once.</summary>
    public long Size => Layers.Sum(layer => layer.Descriptor.Size);

    /// <summary>Number of records with a result.</summary>
    public int Results => Records.Count(record => record.Chain.Count > 0);

    /// <summary>Bytes of the layers of a record's result.</summary>
    public long SizeOf(InventoryRecord record)
    {
        var chain = record.Chain.ToHashSet();
        return Layers.Where(layer => chain.Contains(layer.Descriptor.Digest)).Sum(layer => layer.Descriptor.Size);
    }

    private static List<Digest> ChainOf(CacheConfig config, int top)
    {
        List<Digest> chain = [];
        for (var index = top; index >= 0; index = config.Layers[index].Parent)
            chain.Add(config.Layers[index].Blob);
        chain.Reverse();
        return chain;
    }
}

/// <summary>What one cache has and another has not.</summary>
/// <param name="OnlyFirst">Records (by digest) that only the first has.</param>
/// <param name="OnlySecond">Records that only the second has.</param>
/// <param name="Changed">Records of both whose results differ, with both results' topmost layers (default for none).</param>
/// <param name="LayersOnlyFirst">Layers that only the first has.</param>
/// <param name="LayersOnlySecond">Layers that only the second has.</param>
public sealed record CacheDifference(
    IReadOnlyList<Digest> OnlyFirst, IReadOnlyList<Digest> OnlySecond, IReadOnlyList<(Digest Record, Digest First, Digest Second)> Changed,
    IReadOnlyList<Descriptor> LayersOnlyFirst, IReadOnlyList<Descriptor> LayersOnlySecond)
{
    /// <summary>Whether there is none.</summary>
    public bool IsEmpty => OnlyFirst.Count + OnlySecond.Count + Changed.Count + LayersOnlyFirst.Count + LayersOnlySecond.Count == 0;

    /// <summary>Compares two caches.</summary>
    public static CacheDifference Between(CacheInventory first, CacheInventory second)
    {
        var (a, b) = (ByDigest(first), ByDigest(second));
        List<(Digest, Digest, Digest)> changed = [];
        foreach (var (digest, records) in a)
        {
            if (b.TryGetValue(digest, out var others) && !Chains(records).SetEquals(Chains(others)))
                changed.Add((digest, Top(records), Top(others)));
        }
        return new CacheDifference(
            [.. a.Keys.Where(digest => !b.ContainsKey(digest))], [.. b.Keys.Where(digest => !a.ContainsKey(digest))], changed,
            Missing(first, second), Missing(second, first));
    }

    private static SortedDictionary<Digest, List<InventoryRecord>> ByDigest(CacheInventory inventory) =>
        new(inventory.Records.GroupBy(record => record.Record.Digest).ToDictionary(group => group.Key, group => group.ToList()));

    private static HashSet<string> Chains(List<InventoryRecord> records) => [.. records.Where(record => record.Chain.Count > 0).Select(record => string.Join(',', record.Chain))];

    private static Digest Top(List<InventoryRecord> records) => records.Where(record => record.Chain.Count > 0).Select(record => record.Chain[^1]).FirstOrDefault();

    private static List<Descriptor> Missing(CacheInventory from, CacheInventory at)
    {
        var there = at.Layers.Select(layer => layer.Descriptor.Digest).ToHashSet();
        return [.. from.Layers.Select(layer => layer.Descriptor).Where(layer => !there.Contains(layer.Digest))];
    }
}
