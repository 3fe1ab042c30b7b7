using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>Everything reported so far, in order. Of the statuses with one id only the last is kept.</summary>
internal sealed class ProgressJournal
{
    private readonly List<object?> _items = [];
    private readonly Dictionary<(Digest, string), int> _lastStatus = [];

    public int Count => _items.Count;

    /// <summary>An item; null where a status was replaced by a later one.</summary>
    public object? this[int index] => _items[index];

    public void Add(object item)
    {
        if (item is ProgressStatus status)
        {
            if (_lastStatus.TryGetValue((status.Vertex, status.Id), out var earlier))
                _items[earlier] = null;
            _lastStatus[(status.Vertex, status.Id)] = _items.Count;
        }
        _items.Add(item);
    }
}
