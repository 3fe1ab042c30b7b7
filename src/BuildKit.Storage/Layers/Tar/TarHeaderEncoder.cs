using System.Globalization;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.Storage.Layers.Tar;

/// <summary>
/// Header blocks exactly as Go's <c>archive/tar</c> writes them (spec 06 §3.2): USTAR when every field fits,
/// else one PAX block before; never GNU. Layer digests rest on each byte.
/// </summary>
public static class TarHeaderEncoder
{
    /// <summary>Size of a block in bytes.</summary>
    public const int BlockSize = 512;

    private const long MaxOctal7 = 0x1FFFFF;
    private const long MaxOctal11 = 0x1_FFFF_FFFF;
    private const int NameSize = 100;
    private const int PrefixSize = 155;

    /// <summary>The header blocks of an entry; the content follows them, padded to whole blocks.</summary>
    public static byte[] Encode(TarHeader header)
    {
        var name = LinuxText.Encode(header.Name);
        var link = LinuxText.Encode(header.LinkName);
        var records = new SortedDictionary<string, byte[]>(LinuxText.ByteOrder);
        foreach (var (key, value) in header.Xattrs)
            records["SCHILY.xattr." + key] = value;
        ReadOnlySpan<byte> prefix = default;
        ReadOnlySpan<byte> shortName = name;
        if (!FitsName(name, NameSize, records, "path") && IsAscii(name) && TrySplit(name, out var cut))
        {
            prefix = name.AsSpan(0, cut);
            shortName = name.AsSpan(cut + 1);
        }
        // A name that could be split keeps its record only when something else asks for PAX anyway.
        var splitOnly = !prefix.IsEmpty;
        _ = FitsName(link, NameSize, records, "linkpath");
        AddNumber(records, "uid", header.Uid, MaxOctal7);
        AddNumber(records, "gid", header.Gid, MaxOctal7);
        AddNumber(records, "size", header.Size, MaxOctal11);
        AddNumber(records, "mtime", header.Mtime.Seconds, MaxOctal11);
        if (records.Count == (splitOnly ? 1 : 0))
        {
            var block = new byte[BlockSize];
            WriteHeader(block, shortName, prefix, link, header);
            return block;
        }
        return EncodePax(header, name, link, records);
    }

    private static byte[] EncodePax(TarHeader header, byte[] name, byte[] link, SortedDictionary<string, byte[]> records)
    {
        var data = new MemoryStream();
        foreach (var (key, value) in records)
            WriteRecord(data, key, value);
        var dataBlocks = (int)((data.Length + BlockSize - 1) / BlockSize);
        var result = new byte[BlockSize * (2 + dataBlocks)];
        var x = result.AsSpan(0, BlockSize);
        var slash = Array.LastIndexOf(name, (byte)'/');
        byte[] paxName = [.. Clean(name.AsSpan(0, slash + 1)), .. "PaxHeaders.0/"u8, .. name.AsSpan(slash + 1)];
        WriteText(x[..NameSize], TrimEnd(ToAsciiCut(paxName)));
        WriteOctal(x.Slice(100, 8), 0);
        WriteOctal(x.Slice(108, 8), 0);
        WriteOctal(x.Slice(116, 8), 0);
        WriteOctal(x.Slice(124, 12), data.Length);
        WriteOctal(x.Slice(136, 12), 0);
        x[156] = TarType.PaxEntry;
        "ustar\0"u8.CopyTo(x[257..]);
        "00"u8.CopyTo(x[263..]);
        WriteChecksum(x);
        data.GetBuffer().AsSpan(0, (int)data.Length).CopyTo(result.AsSpan(BlockSize));
        WriteHeader(result.AsSpan(BlockSize * (1 + dataBlocks), BlockSize), ToAsciiCut(name), default, ToAsciiCut(link), header);
        return result;
    }

    /// <summary>True when the text fits a field; otherwise its PAX record is added.</summary>
    private static bool FitsName(byte[] text, int size, SortedDictionary<string, byte[]> records, string key)
    {
        if (text.Length <= size && IsAscii(text))
            return true;
        records[key] = text;
        return false;
    }

    private static void AddNumber(SortedDictionary<string, byte[]> records, string key, long value, long max)
    {
        if (value < 0 || value > max)
            records[key] = Encoding.ASCII.GetBytes(value.ToString(CultureInfo.InvariantCulture));
    }

    private static bool TrySplit(byte[] name, out int cut)
    {
        var length = name.Length;
        if (length > PrefixSize + 1)
            length = PrefixSize + 1;
        else if (name[length - 1] == (byte)'/')
            length--;
        cut = Array.LastIndexOf(name, (byte)'/', length - 1);
        var rest = name.Length - cut - 1;
        return cut > 0 && rest is > 0 and <= NameSize && cut <= PrefixSize;
    }

    private static void WriteHeader(Span<byte> block, ReadOnlySpan<byte> name, ReadOnlySpan<byte> prefix, ReadOnlySpan<byte> link, TarHeader header)
    {
        WriteText(block[..NameSize], name);
        WriteOctal(block.Slice(100, 8), header.Mode);
        WriteOctal(block.Slice(108, 8), Fitting(header.Uid, MaxOctal7));
        WriteOctal(block.Slice(116, 8), Fitting(header.Gid, MaxOctal7));
        WriteOctal(block.Slice(124, 12), Fitting(header.Size, MaxOctal11));
        WriteOctal(block.Slice(136, 12), Fitting(header.Mtime.Seconds, MaxOctal11));
        block[156] = header.Type;
        WriteText(block.Slice(157, NameSize), link);
        "ustar\0"u8.CopyTo(block[257..]);
        "00"u8.CopyTo(block[263..]);
        WriteOctal(block.Slice(329, 8), Fitting(header.DevMajor, MaxOctal7));
        WriteOctal(block.Slice(337, 8), Fitting(header.DevMinor, MaxOctal7));
        WriteText(block.Slice(345, PrefixSize), prefix);
        WriteChecksum(block);

        static long Fitting(long value, long max) => value < 0 || value > max ? 0 : value;
    }

    private static void WriteText(Span<byte> field, ReadOnlySpan<byte> text) => text[..Math.Min(text.Length, field.Length)].CopyTo(field);

    private static void WriteOctal(Span<byte> field, long value)
    {
        for (var i = field.Length - 2; i >= 0; i--)
        {
            field[i] = (byte)('0' + (value & 7));
            value >>= 3;
        }
        field[^1] = 0;
    }

    private static void WriteChecksum(Span<byte> block)
    {
        var field = block.Slice(148, 8);
        field.Fill((byte)' ');
        var sum = 0;
        foreach (var b in block)
            sum += b;
        WriteOctal(field[..7], sum);
        field[7] = (byte)' ';
    }

    private static void WriteRecord(Stream data, string key, byte[] value)
    {
        var keyBytes = LinuxText.Encode(key);
        var fixedSize = keyBytes.Length + value.Length + 3;
        var size = fixedSize + Digits(fixedSize);
        if (fixedSize + Digits(size) != size)
            size = fixedSize + Digits(size);
        data.Write(Encoding.ASCII.GetBytes(size.ToString(CultureInfo.InvariantCulture)));
        data.WriteByte((byte)' ');
        data.Write(keyBytes);
        data.WriteByte((byte)'=');
        data.Write(value);
        data.WriteByte((byte)'\n');

        static int Digits(int n) => n.ToString(CultureInfo.InvariantCulture).Length;
    }

    private static bool IsAscii(ReadOnlySpan<byte> text) => !text.ContainsAnyExceptInRange((byte)1, (byte)0x7F);

    /// <summary>Non-ASCII bytes dropped, cut to the name field, a slash left at the end of a cut trimmed.</summary>
    private static byte[] ToAsciiCut(ReadOnlySpan<byte> text)
    {
        var kept = new List<byte>(text.Length);
        foreach (var b in text)
        {
            if (b is > 0 and < 0x80)
                kept.Add(b);
        }
        var result = kept.ToArray();
        return result.Length > NameSize ? TrimEnd(result[..NameSize]) : result;
    }

    private static byte[] TrimEnd(byte[] text)
    {
        var length = text.AsSpan().TrimEnd((byte)'/').Length;
        return length == text.Length ? text : text[..length];
    }

    /// <summary>The directory part without doubled slashes; ours are clean but for the root.</summary>
    private static ReadOnlySpan<byte> Clean(ReadOnlySpan<byte> directory) => directory.TrimStart((byte)'/');

    /// <summary>The bytes of padding after content of a size.</summary>
    public static int Padding(long size) => (int)((BlockSize - (size % BlockSize)) % BlockSize);
}
