using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>
/// The history of a stage. Like the maps of its image (spec 05 §15, trap 24) its storage is shared with the stages
/// built on it, and grows by doubling: where there is room, two stages built on the same one write their next entry
/// into the same place, and the later one wins in both. Builds of the reference have this in their image configs,
/// so config digests depend on it.
/// </summary>
internal readonly struct HistoryList
{
    private readonly HistoryEntry[] _entries;
    private readonly int _count;

    private HistoryList(HistoryEntry[] entries, int count)
    {
        _entries = entries;
        _count = count;
    }

    /// <summary>A history read from a configuration.</summary>
    public static HistoryList From(IEnumerable<HistoryEntry> entries)
    {
        var list = new HistoryList([], 0);
        foreach (var entry in entries)
            list = list.Add(entry);
        return list;
    }

    /// <summary>The entries.</summary>
    public IReadOnlyList<HistoryEntry> Entries => _entries is null ? [] : new ArraySegment<HistoryEntry>(_entries, 0, _count);

    /// <summary>The history with one more entry; other views of the same storage may see it too.</summary>
    public HistoryList Add(HistoryEntry entry)
    {
        var entries = _entries ?? [];
        if (_count == entries.Length)
        {
            var grown = new HistoryEntry[Math.Max(1, entries.Length * 2)];
            entries.CopyTo(grown, 0);
            entries = grown;
        }
        entries[_count] = entry;
        return new HistoryList(entries, _count + 1);
    }
}
