using System.Globalization;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.Storage.Layers.Tar;

/// <summary>From header blocks and PAX records to <see cref="TarHeader"/>.</summary>
internal static class TarHeaderParser
{
    internal readonly record struct RawHeader(TarHeader Header, long GnuRealSize);

    /// <summary>Reads one block as it stands.</summary>
    /// <exception cref="TarFormatException">The checksum or a number is wrong.</exception>
    internal static RawHeader Parse(ReadOnlySpan<byte> block)
    {
        var (unsigned, signed) = Checksums(block);
        var expected = Number(block.Slice(148, 8));
        if (expected != unsigned && expected != signed)
            throw TarFormatException.InvalidHeader();
        var gnu = block.Slice(257, 8).SequenceEqual("ustar  \0"u8);
        var ustar = block.Slice(257, 6).SequenceEqual("ustar\0"u8) && block.Slice(263, 2).SequenceEqual("00"u8);
        var star = ustar && block.Slice(508, 4).SequenceEqual("tar\0"u8);
        var type = block[156];
        var header = new TarHeader
        {
            Name = Text(block[..100]),
            Mode = Number(block.Slice(100, 8)),
            Uid = Number(block.Slice(108, 8)),
            Gid = Number(block.Slice(116, 8)),
            Size = Number(block.Slice(124, 12)),
            Mtime = new UnixTime(Number(block.Slice(136, 12)), 0),
            Type = type,
            LinkName = Text(block.Slice(157, 100)),
        };
        if (header.Size < 0)
            throw TarFormatException.InvalidHeader();
        if (!gnu && !ustar)
            return new RawHeader(header, 0);
        header = header with
        {
            UserName = Text(block.Slice(265, 32)),
            GroupName = Text(block.Slice(297, 32)),
            DevMajor = Number(block.Slice(329, 8)),
            DevMinor = Number(block.Slice(337, 8)),
        };
        if (gnu)
        {
            // Some old writers put a prefix where GNU has times; a number that does not parse is therefore no error.
            if (block[345] != 0 && TryNumber(block.Slice(345, 12), out var atime))
                header = header with { Atime = new UnixTime(atime, 0) };
            return new RawHeader(header, type == TarType.GnuSparse ? Number(block.Slice(483, 12)) : 0);
        }
        var prefix = Text(block.Slice(345, star ? 131 : 155));
        return new RawHeader(prefix.Length == 0 ? header : header with { Name = prefix + "/" + header.Name }, 0);
    }

    /// <summary>The header with its PAX records and GNU long names applied.</summary>
    internal static TarHeader Merge(TarHeader header, Dictionary<string, byte[]> pax, string? longName, string? longLink)
    {
        if (longName is not null)
            header = header with { Name = longName };
        if (longLink is not null)
            header = header with { LinkName = longLink };
        Dictionary<string, byte[]>? xattrs = null;
        foreach (var (key, value) in pax)
        {
            if (value.Length == 0 && !key.StartsWith("SCHILY.xattr.", StringComparison.Ordinal))
                continue;
            switch (key)
            {
                case "path": header = header with { Name = LinuxText.Decode(value) }; break;
                case "linkpath": header = header with { LinkName = LinuxText.Decode(value) }; break;
                case "uname": header = header with { UserName = LinuxText.Decode(value) }; break;
                case "gname": header = header with { GroupName = LinuxText.Decode(value) }; break;
                case "uid": header = header with { Uid = Decimal(value) }; break;
                case "gid": header = header with { Gid = Decimal(value) }; break;
                case "size": header = header with { Size = Decimal(value) }; break;
                case "mtime": header = header with { Mtime = Time(value) }; break;
                case "atime": header = header with { Atime = Time(value) }; break;
                default:
                    if (key.StartsWith("SCHILY.xattr.", StringComparison.Ordinal))
                        (xattrs ??= new(StringComparer.Ordinal))[key["SCHILY.xattr.".Length..]] = value;
                    break;
            }
        }
        if (xattrs is not null)
            header = header with { Xattrs = xattrs };
        if (header.Type == TarType.OldRegular)
            header = header with { Type = header.Name.EndsWith('/') ? TarType.Directory : TarType.Regular };
        return header;
    }

    /// <summary>PAX records <c>length key=value\n</c>; an empty value removes the key.</summary>
    internal static Dictionary<string, byte[]> ParseRecords(ReadOnlySpan<byte> data)
    {
        var records = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var sparse = new List<string>();
        while (!data.IsEmpty)
        {
            var space = data.IndexOf((byte)' ');
            if (space <= 0)
                throw TarFormatException.InvalidHeader();
            var length = Decimal(data[..space].ToArray());
            if (length < 5 || length > data.Length || space + 1 >= length)
                throw TarFormatException.InvalidHeader();
            var record = data[(space + 1)..(int)length];
            data = data[(int)length..];
            var equals = record.IndexOf((byte)'=');
            if (equals <= 0 || record[^1] != (byte)'\n')
                throw TarFormatException.InvalidHeader();
            var key = LinuxText.Decode(record[..equals]);
            var value = record[(equals + 1)..^1];
            if (key.Contains('\0', StringComparison.Ordinal) || (key is "path" or "linkpath" or "uname" or "gname" && value.Contains((byte)0)))
                throw TarFormatException.InvalidHeader();
            if (key is "GNU.sparse.offset" or "GNU.sparse.numbytes")
                sparse.Add(LinuxText.Decode(value)); // version 0.0 repeats these keys
            else
                records[key] = value.ToArray();
        }
        if (sparse.Count > 0)
            records["GNU.sparse.map"] = LinuxText.Encode(string.Join(',', sparse));
        return records;
    }

    /// <summary>Bytes up to the first NUL.</summary>
    internal static string Text(ReadOnlySpan<byte> field)
    {
        var end = field.IndexOf((byte)0);
        return LinuxText.Decode(end < 0 ? field : field[..end]);
    }

    internal static long Decimal(byte[] text) =>
        long.TryParse(Encoding.ASCII.GetString(text), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value : throw TarFormatException.InvalidHeader();

    /// <summary>Octal text, or base-256 when the first bit is set.</summary>
    internal static long Number(ReadOnlySpan<byte> field) =>
        TryNumber(field, out var value) ? value : throw TarFormatException.InvalidHeader();

    private static bool TryNumber(ReadOnlySpan<byte> field, out long value)
    {
        value = 0;
        if ((field[0] & 0x80) != 0)
        {
            var negative = (field[0] & 0x40) != 0;
            ulong bits = 0;
            for (var i = 0; i < field.Length; i++)
            {
                var b = field[i];
                if (negative)
                    b = (byte)~b;
                if (i == 0)
                    b &= 0x7F;
                if (bits >> 56 != 0)
                    return false;
                bits = (bits << 8) | b;
            }
            if (bits >> 63 != 0)
                return false;
            value = negative ? ~(long)bits : (long)bits;
            return true;
        }
        var text = field.Trim(" \0"u8);
        var end = text.IndexOf((byte)0);
        if (end >= 0)
            text = text[..end];
        foreach (var b in text)
        {
            if (b is < (byte)'0' or > (byte)'7' || value >> 60 != 0)
                return false;
            value = (value << 3) | (uint)(b - '0');
        }
        return true;
    }

    /// <summary>Seconds with an optional fraction, cut to nanoseconds.</summary>
    private static UnixTime Time(byte[] text)
    {
        var s = Encoding.ASCII.GetString(text);
        var dot = s.IndexOf('.', StringComparison.Ordinal);
        var whole = dot < 0 ? s : s[..dot];
        if (!long.TryParse(whole, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds))
            throw TarFormatException.InvalidHeader();
        if (dot < 0 || dot == s.Length - 1)
            return new UnixTime(seconds, 0);
        var digits = s[(dot + 1)..];
        if (digits.AsSpan().ContainsAnyExceptInRange('0', '9'))
            throw TarFormatException.InvalidHeader();
        var nanoseconds = int.Parse(digits.PadRight(9, '0').AsSpan(0, 9), CultureInfo.InvariantCulture);
        if (!whole.StartsWith('-') || nanoseconds == 0)
            return new UnixTime(seconds, nanoseconds);
        return new UnixTime(seconds - 1, 1_000_000_000 - nanoseconds);
    }

    private static (long Unsigned, long Signed) Checksums(ReadOnlySpan<byte> block)
    {
        long unsigned = 0;
        long signed = 0;
        for (var i = 0; i < block.Length; i++)
        {
            var b = i is >= 148 and < 156 ? (byte)' ' : block[i];
            unsigned += b;
            signed += (sbyte)b;
        }
        return (unsigned, signed);
    }
}
