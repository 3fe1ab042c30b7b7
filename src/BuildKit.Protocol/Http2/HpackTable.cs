namespace BuildKit.Protocol.Http2;

/// <summary>The static table and one direction's dynamic table of HPACK (RFC 7541 §2.3). Indexes start at 1.</summary>
internal sealed class HpackTable(int maxSize)
{
    public const int StaticCount = 61;

    private static readonly HeaderField[] Static =
    [
        new(":authority", ""), new(":method", "GET"), new(":method", "POST"), new(":path", "/"),
        new(":path", "/index.html"), new(":scheme", "http"), new(":scheme", "https"), new(":status", "200"),
        new(":status", "204"), new(":status", "206"), new(":status", "304"), new(":status", "400"),
        new(":status", "404"), new(":status", "500"), new("accept-charset", ""),
        new("accept-encoding", "gzip, deflate"), new("accept-language", ""), new("accept-ranges", ""),
        new("accept", ""), new("access-control-allow-origin", ""), new("age", ""), new("allow", ""),
        new("authorization", ""), new("cache-control", ""), new("content-disposition", ""),
        new("content-encoding", ""), new("content-language", ""), new("content-length", ""),
        new("content-location", ""), new("content-range", ""), new("content-type", ""), new("cookie", ""),
        new("date", ""), new("etag", ""), new("expect", ""), new("expires", ""), new("from", ""), new("host", ""),
        new("if-match", ""), new("if-modified-since", ""), new("if-none-match", ""), new("if-range", ""),
        new("if-unmodified-since", ""), new("last-modified", ""), new("link", ""), new("location", ""),
        new("max-forwards", ""), new("proxy-authenticate", ""), new("proxy-authorization", ""), new("range", ""),
        new("referer", ""), new("refresh", ""), new("retry-after", ""), new("server", ""), new("set-cookie", ""),
        new("strict-transport-security", ""), new("transfer-encoding", ""), new("user-agent", ""), new("vary", ""),
        new("via", ""), new("www-authenticate", ""),
    ];

    // Newest last; entry 62 of the index space is the last one here.
    private readonly List<HeaderField> _dynamic = [];
    private int _evicted;
    private long _size;

    /// <summary>Largest size in bytes as HPACK counts them.</summary>
    public long MaxSize { get; private set; } = maxSize;

    /// <summary>Bytes the dynamic entries take.</summary>
    public long Size => _size;

    public void Resize(long maxSize)
    {
        MaxSize = maxSize;
        Evict(0);
    }

    /// <summary>The entry at an index; false when there is none.</summary>
    public bool TryGet(long index, out HeaderField field)
    {
        field = default;
        if (index is <= 0)
            return false;
        if (index <= StaticCount)
        {
            field = Static[index - 1];
            return true;
        }

        var position = _dynamic.Count - (index - StaticCount);
        if (position < _evicted)
            return false;
        field = _dynamic[(int)position];
        return true;
    }

    public void Add(HeaderField field)
    {
        var size = field.Size;
        Evict(size);
        if (size > MaxSize)
            return;
        _dynamic.Add(field);
        _size += size;
    }

    /// <summary>Looks a field up. <paramref name="exact"/> says whether the value matches too.</summary>
    /// <returns>The index, or 0.</returns>
    public int Find(string name, string value, out bool exact)
    {
        var byName = 0;
        for (var i = _dynamic.Count - 1; i >= _evicted; i--)
        {
            if (!string.Equals(_dynamic[i].Name, name, StringComparison.Ordinal))
                continue;
            byName = byName == 0 ? StaticCount + _dynamic.Count - i : byName;
            if (!string.Equals(_dynamic[i].Value, value, StringComparison.Ordinal))
                continue;
            exact = true;
            return StaticCount + _dynamic.Count - i;
        }

        for (var i = 0; i < Static.Length; i++)
        {
            if (!string.Equals(Static[i].Name, name, StringComparison.Ordinal))
                continue;
            byName = byName == 0 || byName > StaticCount ? i + 1 : byName;
            if (!string.Equals(Static[i].Value, value, StringComparison.Ordinal))
                continue;
            exact = true;
            return i + 1;
        }

        exact = false;
        return byName;
    }

    private void Evict(long room)
    {
        while (_evicted < _dynamic.Count && _size + room > MaxSize)
            _size -= _dynamic[_evicted++].Size;
        if (_evicted < 64 && _evicted < _dynamic.Count)
            return;
        _dynamic.RemoveRange(0, _evicted);
        _evicted = 0;
    }
}
