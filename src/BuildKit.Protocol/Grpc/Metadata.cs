using System.Collections;

namespace BuildKit.Protocol.Grpc;

/// <summary>
/// Header or trailer fields of a call: an ordered list in which a key may stand more than once, each value
/// its own field on the wire (Go peers read repeated session metadata this way). Keys are lower case.
/// </summary>
public sealed class Metadata : IEnumerable<KeyValuePair<string, string>>
{
    private readonly List<KeyValuePair<string, string>> _fields = [];

    /// <summary>Number of fields, repeated ones counted each.</summary>
    public int Count => _fields.Count;

    /// <summary>Appends a field; the key is lower-cased.</summary>
    public void Add(string key, string value) => _fields.Add(new(key.ToLowerInvariant(), value));

    /// <summary>The first value of a key, or null.</summary>
    public string? Get(string key)
    {
        foreach (var (k, v) in _fields)
            if (string.Equals(k, key, StringComparison.OrdinalIgnoreCase))
                return v;
        return null;
    }

    /// <summary>Every value of a key, in wire order.</summary>
    public IReadOnlyList<string> GetAll(string key)
    {
        var values = new List<string>();
        foreach (var (k, v) in _fields)
            if (string.Equals(k, key, StringComparison.OrdinalIgnoreCase))
                values.Add(v);
        return values;
    }

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => _fields.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
