using BuildKit.Linux;

namespace BuildKit.Storage.Layers.Tar;

/// <summary>Which parts of a sparse file are stored; the rest are zeros.</summary>
internal sealed class SparseMap(long size)
{
    private readonly List<(long Offset, long Length)> _parts = [];
    private int _next;

    internal long Size { get; } = size;

    internal int Count => _parts.Count;

    /// <summary>1 for PAX sparse 1.0, 0 for 0.0 and 0.1, null for a file that is not sparse.</summary>
    internal static int? PaxVersion(Dictionary<string, byte[]> pax)
    {
        var major = Get(pax, "GNU.sparse.major");
        var minor = Get(pax, "GNU.sparse.minor");
        if (major == "1" && minor == "0")
            return 1;
        if (major == "0" && minor is "0" or "1" || (major.Length == 0 && pax.ContainsKey("GNU.sparse.map")))
            return 0;
        return null;
    }

    internal static long PaxRealSize(Dictionary<string, byte[]> pax)
    {
        if (pax.TryGetValue("GNU.sparse.realsize", out var size) || pax.TryGetValue("GNU.sparse.size", out size))
            return TarHeaderParser.Decimal(size);
        throw TarFormatException.InvalidHeader();
    }

    /// <summary>Versions 0.0 and 0.1: the map stands in the records.</summary>
    internal static SparseMap FromPax(Dictionary<string, byte[]> pax)
    {
        var map = new SparseMap(PaxRealSize(pax));
        var text = Get(pax, "GNU.sparse.map");
        var numbers = text.Length == 0 ? [] : text.Split(',');
        if (numbers.Length % 2 != 0)
            throw TarFormatException.InvalidHeader();
        for (var i = 0; i < numbers.Length; i += 2)
            map.Add(TarHeaderParser.Decimal(LinuxText.Encode(numbers[i])), TarHeaderParser.Decimal(LinuxText.Encode(numbers[i + 1])));
        return map;
    }

    internal void Add(long offset, long length) => _parts.Add((offset, length));

    /// <summary>Adds the entries of a GNU header or extension block; true when another extension block follows.</summary>
    internal bool AddGnuEntries(ReadOnlySpan<byte> entries, byte isExtended)
    {
        for (; !entries.IsEmpty && entries[0] != 0; entries = entries[24..])
            Add(TarHeaderParser.Number(entries[..12]), TarHeaderParser.Number(entries.Slice(12, 12)));
        return isExtended != 0;
    }

    /// <summary>Parts must be in order, inside the file, not overlapping, and as long as the stored bytes.</summary>
    internal void Validate(long stored)
    {
        long position = 0;
        long sum = 0;
        foreach (var (offset, length) in _parts)
        {
            if (offset < position || length < 0 || offset > Size - length)
                throw TarFormatException.InvalidHeader();
            position = offset + length;
            sum += length;
        }
        if (Size < 0 || sum > stored)
            throw TarFormatException.InvalidHeader();
    }

    /// <summary>How many bytes from a position on are of one kind.</summary>
    internal (long Length, bool IsData) RunAt(long position)
    {
        // Parts are read front to back; those passed are not looked at again.
        while (_next < _parts.Count && _parts[_next].Offset + _parts[_next].Length <= position)
            _next++;
        if (_next == _parts.Count)
            return (Size - position, false);
        var (offset, length) = _parts[_next];
        return position < offset ? (offset - position, false) : (offset + length - position, true);
    }

    private static string Get(Dictionary<string, byte[]> pax, string key) => pax.TryGetValue(key, out var value) ? LinuxText.Decode(value) : "";
}
