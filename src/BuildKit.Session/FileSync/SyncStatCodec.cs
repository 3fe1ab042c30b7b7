using System.Buffers;
using System.Text;
using BuildKit.Linux;

namespace BuildKit.Session.FileSync;

/// <summary>
/// Bytes of the Stat message. Written by hand because the string fields hold file names, which need not be
/// UTF-8 and which generated code would spoil.
/// </summary>
internal static class SyncStatCodec
{
    private const int Varint = 0;
    private const int Fixed64 = 1;
    private const int Length = 2;
    private const int Fixed32 = 5;

    /// <summary>The encoded message, default values left out.</summary>
    public static byte[] Encode(SyncStat stat)
    {
        var output = new ArrayBufferWriter<byte>(64 + (stat.Path.Length * 3) + (stat.Linkname.Length * 3));
        WriteText(output, 1, stat.Path);
        WriteNumber(output, 2, stat.Mode);
        WriteNumber(output, 3, stat.Uid);
        WriteNumber(output, 4, stat.Gid);
        WriteNumber(output, 5, (ulong)stat.Size);
        WriteNumber(output, 6, (ulong)stat.ModTime);
        WriteText(output, 7, stat.Linkname);
        WriteNumber(output, 8, (ulong)stat.DevMajor);
        WriteNumber(output, 9, (ulong)stat.DevMinor);
        foreach (var (name, value) in stat.Xattrs ?? [])
        {
            var entry = new ArrayBufferWriter<byte>(name.Length + value.Length + 12);
            WriteBytes(entry, 1, LinuxText.Encode(name));
            WriteBytes(entry, 2, value);
            WriteBytes(output, 10, entry.WrittenSpan);
        }
        return output.WrittenSpan.ToArray();
    }

    /// <summary>Reads a message; unknown fields are skipped.</summary>
    /// <exception cref="InvalidDataException">The bytes are no such message.</exception>
    public static SyncStat Decode(ReadOnlySpan<byte> bytes)
    {
        var stat = new SyncStat { Path = "" };
        var path = "";
        var linkname = "";
        ulong mode = 0, uid = 0, gid = 0, size = 0, modTime = 0, major = 0, minor = 0;
        SortedDictionary<string, byte[]>? xattrs = null;
        while (!bytes.IsEmpty)
        {
            var tag = ReadVarint(ref bytes);
            switch (tag)
            {
                case (1 << 3) | Length:
                    path = LinuxText.Decode(ReadBytes(ref bytes));
                    break;
                case (2 << 3) | Varint:
                    mode = ReadVarint(ref bytes);
                    break;
                case (3 << 3) | Varint:
                    uid = ReadVarint(ref bytes);
                    break;
                case (4 << 3) | Varint:
                    gid = ReadVarint(ref bytes);
                    break;
                case (5 << 3) | Varint:
                    size = ReadVarint(ref bytes);
                    break;
                case (6 << 3) | Varint:
                    modTime = ReadVarint(ref bytes);
                    break;
                case (7 << 3) | Length:
                    linkname = LinuxText.Decode(ReadBytes(ref bytes));
                    break;
                case (8 << 3) | Varint:
                    major = ReadVarint(ref bytes);
                    break;
                case (9 << 3) | Varint:
                    minor = ReadVarint(ref bytes);
                    break;
                case (10 << 3) | Length:
                    var (name, value) = DecodeXattr(ReadBytes(ref bytes));
                    xattrs ??= new SortedDictionary<string, byte[]>(LinuxText.ByteOrder);
                    xattrs[name] = value;
                    break;
                default:
                    Skip(ref bytes, (int)(tag & 7));
                    break;
            }
        }
        return stat with
        {
            Path = path,
            Mode = (uint)mode,
            Uid = (uint)uid,
            Gid = (uint)gid,
            Size = (long)size,
            ModTime = (long)modTime,
            Linkname = linkname,
            DevMajor = (long)major,
            DevMinor = (long)minor,
            Xattrs = xattrs is null ? null : [.. xattrs],
        };
    }

    private static (string Name, byte[] Value) DecodeXattr(ReadOnlySpan<byte> bytes)
    {
        var name = "";
        byte[] value = [];
        while (!bytes.IsEmpty)
        {
            var tag = ReadVarint(ref bytes);
            if (tag == ((1 << 3) | Length))
                name = LinuxText.Decode(ReadBytes(ref bytes));
            else if (tag == ((2 << 3) | Length))
                value = ReadBytes(ref bytes).ToArray();
            else
                Skip(ref bytes, (int)(tag & 7));
        }
        return (name, value);
    }

    private static void WriteText(ArrayBufferWriter<byte> output, int field, string text)
    {
        if (text.Length > 0)
            WriteBytes(output, field, Ascii.IsValid(text) ? Encoding.ASCII.GetBytes(text) : LinuxText.Encode(text));
    }

    private static void WriteBytes(ArrayBufferWriter<byte> output, int field, ReadOnlySpan<byte> bytes)
    {
        WriteVarint(output, (ulong)((field << 3) | Length));
        WriteVarint(output, (ulong)bytes.Length);
        output.Write(bytes);
    }

    private static void WriteNumber(ArrayBufferWriter<byte> output, int field, ulong value)
    {
        if (value == 0)
            return;
        WriteVarint(output, (ulong)((field << 3) | Varint));
        WriteVarint(output, value);
    }

    private static void WriteVarint(ArrayBufferWriter<byte> output, ulong value)
    {
        var span = output.GetSpan(10);
        var at = 0;
        for (; value >= 0x80; value >>= 7)
            span[at++] = (byte)(value | 0x80);
        span[at++] = (byte)value;
        output.Advance(at);
    }

    private static ulong ReadVarint(ref ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (var i = 0; i < bytes.Length && i < 10; i++)
        {
            value |= (ulong)(bytes[i] & 0x7F) << (7 * i);
            if (bytes[i] >= 0x80)
                continue;
            bytes = bytes[(i + 1)..];
            return value;
        }
        throw Malformed();
    }

    private static ReadOnlySpan<byte> ReadBytes(ref ReadOnlySpan<byte> bytes)
    {
        var length = ReadVarint(ref bytes);
        if (length > (ulong)bytes.Length)
            throw Malformed();
        var value = bytes[..(int)length];
        bytes = bytes[(int)length..];
        return value;
    }

    private static void Skip(ref ReadOnlySpan<byte> bytes, int wireType)
    {
        switch (wireType)
        {
            case Varint:
                _ = ReadVarint(ref bytes);
                break;
            case Length:
                _ = ReadBytes(ref bytes);
                break;
            case Fixed64 when bytes.Length >= 8:
                bytes = bytes[8..];
                break;
            case Fixed32 when bytes.Length >= 4:
                bytes = bytes[4..];
                break;
            default:
                throw Malformed();
        }
    }

    private static InvalidDataException Malformed() => new("malformed stat message in a file transfer");
}
