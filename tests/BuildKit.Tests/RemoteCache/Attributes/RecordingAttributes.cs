using System.Collections;
using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>Attributes that remember which of them were asked for.</summary>
internal sealed class RecordingAttributes(IReadOnlyDictionary<string, string> attributes) : IReadOnlyDictionary<string, string>
{
    private readonly ConcurrentDictionary<string, bool> _asked = new(StringComparer.Ordinal);

    /// <summary>Names that were asked for, given or not.</summary>
    public IEnumerable<string> Asked => _asked.Keys;

    public int Count => attributes.Count;

    public IEnumerable<string> Keys => attributes.Keys;

    public IEnumerable<string> Values => attributes.Values;

    public string this[string key] => TryGetValue(key, out var value) ? value : throw new KeyNotFoundException(key);

    public bool ContainsKey(string key) => TryGetValue(key, out _);

    public bool TryGetValue(string key, [MaybeNullWhen(false)] out string value)
    {
        _asked[key] = true;
        return attributes.TryGetValue(key, out value);
    }

    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => attributes.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
