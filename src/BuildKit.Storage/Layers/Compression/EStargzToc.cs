using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using BuildKit.Linux;
using BuildKit.Storage.Layers.Tar;

namespace BuildKit.Storage.Layers.Compression;

/// <summary>The table of contents of an eStargz blob, as text exactly like the reference writes it.</summary>
internal static class EStargzToc
{
    /// <summary>One line of the table. <see cref="Member"/> is the gzip member with the content, -1 for none.</summary>
    internal sealed class Entry
    {
        internal required TarHeader Header { get; init; }

        internal required string Type { get; init; }

        internal long ChunkOffset { get; init; }

        internal int Member { get; set; } = -1;

        internal long ChunkSize { get; set; }

        internal string Digest { get; set; } = "";

        internal string ChunkDigest { get; set; } = "";
    }

    internal static string TypeName(byte type) => type switch
    {
        TarType.Regular => "reg",
        TarType.HardLink => "hardlink",
        TarType.Symlink => "symlink",
        TarType.Directory => "dir",
        TarType.Char => "char",
        TarType.Block => "block",
        TarType.Fifo => "fifo",
        _ => throw new InvalidDataException($"unsupported input tar entry '{(char)type}'"),
    };

    internal static byte[] Write(IReadOnlyList<Entry> entries, IReadOnlyList<long> memberOffsets)
    {
        var json = new StringBuilder();
        json.Append("{\n\t\"version\": 1,\n\t\"entries\": ");
        if (entries.Count == 0)
            json.Append("null");
        for (var i = 0; i < entries.Count; i++)
        {
            json.Append(i == 0 ? "[\n" : ",\n");
            WriteEntry(json, entries[i], memberOffsets);
        }
        if (entries.Count > 0)
            json.Append("\n\t]");
        json.Append("\n}");
        return Encoding.UTF8.GetBytes(json.ToString());
    }

    private static void WriteEntry(StringBuilder json, Entry entry, IReadOnlyList<long> memberOffsets)
    {
        var header = entry.Header;
        var isChunk = entry.Type == "chunk";
        json.Append("\t\t{\n\t\t\t\"name\": ");
        WriteText(json, header.Name);
        json.Append(CultureInfo.InvariantCulture, $",\n\t\t\t\"type\": \"{entry.Type}\"");
        if (!isChunk)
        {
            if (header.Type == TarType.Regular)
                Number("size", header.Size);
            // Rounded to the nearest second, unlike the layer's own times.
            var mtime = new UnixTime(header.Mtime.Seconds + (header.Mtime.Nanoseconds >= 500_000_000 ? 1 : 0), 0);
            if (mtime.Seconds != 0)
                Text("modtime", mtime.ToDateTimeOffset().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture));
            Text("linkName", header.LinkName);
            Number("mode", header.Mode);
            Number("uid", header.Uid);
            Number("gid", header.Gid);
            Text("userName", header.UserName);
            Text("groupName", header.GroupName);
        }
        Number("offset", entry.Member >= 0 ? memberOffsets[entry.Member] : 0);
        if (!isChunk)
        {
            if (header.Type is TarType.Char or TarType.Block)
            {
                Number("devMajor", header.DevMajor);
                Number("devMinor", header.DevMinor);
            }
            WriteXattrs(json, header.Xattrs);
            Text("digest", entry.Digest);
        }
        Number("chunkOffset", entry.ChunkOffset);
        Number("chunkSize", entry.ChunkSize);
        Text("chunkDigest", entry.ChunkDigest);
        json.Append("\n\t\t}");

        void Number(string name, long value)
        {
            if (value != 0)
                json.Append(CultureInfo.InvariantCulture, $",\n\t\t\t\"{name}\": {value}");
        }

        void Text(string name, string value)
        {
            if (value.Length == 0)
                return;
            json.Append(CultureInfo.InvariantCulture, $",\n\t\t\t\"{name}\": ");
            WriteText(json, value);
        }
    }

    private static void WriteXattrs(StringBuilder json, IReadOnlyDictionary<string, byte[]> xattrs)
    {
        if (xattrs.Count == 0)
            return;
        var separator = ",\n\t\t\t\"xattrs\": {\n\t\t\t\t";
        foreach (var (name, value) in xattrs.OrderBy(x => x.Key, LinuxText.ByteOrder))
        {
            json.Append(separator);
            WriteText(json, name);
            json.Append(": \"").Append(Convert.ToBase64String(value)).Append('"');
            separator = ",\n\t\t\t\t";
        }
        json.Append("\n\t\t\t}");
    }

    /// <summary>A JSON string with the escapes of Go's encoder, the ones for HTML included.</summary>
    private static void WriteText(StringBuilder json, string text)
    {
        json.Append('"');
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            switch (c)
            {
                case '"' or '\\': json.Append('\\').Append(c); break;
                case '\b': json.Append("\\b"); break;
                case '\f': json.Append("\\f"); break;
                case '\n': json.Append("\\n"); break;
                case '\r': json.Append("\\r"); break;
                case '\t': json.Append("\\t"); break;
                case < ' ' or '<' or '>' or '&' or '\u2028' or '\u2029':
                    json.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
                    break;
                default:
                    if (char.IsHighSurrogate(c) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
                        json.Append(c).Append(text[++i]);
                    else if (char.IsSurrogate(c))
                        json.Append("\\ufffd");
                    else
                        json.Append(c);
                    break;
            }
        }
        json.Append('"');
    }
}

/// <summary>The last 51 bytes of an eStargz blob.</summary>
public static class EStargzFooter
{
    /// <summary>Length in bytes.</summary>
    public const int Size = 51;

    /// <summary>Length of the footers of older tools.</summary>
    public const int LegacySize = 47;

    /// <summary>An empty gzip member that names the offset of the table of contents in its extra field.</summary>
    internal static byte[] Make(long tocOffset)
    {
        var offset = Encoding.ASCII.GetBytes(tocOffset.ToString("x16", CultureInfo.InvariantCulture));
        return
        [
            0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 0xFF, 26, 0, (byte)'S', (byte)'G', 22, 0, .. offset, .. "STARGZ"u8,
            1, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
    }

    /// <summary>The offset of the table of contents, from the last bytes of a blob; null when it is no eStargz.</summary>
    public static long? Parse(ReadOnlySpan<byte> tail)
    {
        if (tail.Length >= Size && ParseField(tail[^Size..], 26, 16) is { } offset)
            return offset;
        return tail.Length >= LegacySize ? ParseField(tail[^LegacySize..], 22, 12) : null;
    }

    private static long? ParseField(ReadOnlySpan<byte> footer, int extraLength, int start)
    {
        if (!footer.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B, 8, 4]) || BinaryPrimitives.ReadUInt16LittleEndian(footer[10..]) != extraLength)
            return null;
        if (start == 16 && !footer.Slice(12, 4).SequenceEqual((ReadOnlySpan<byte>)[(byte)'S', (byte)'G', 22, 0]))
            return null;
        if (!footer.Slice(start + 16, 6).SequenceEqual("STARGZ"u8))
            return null;
        return long.TryParse(footer.Slice(start, 16), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var offset) && offset >= 0 ? offset : null;
    }

    /// <summary>Whether a seekable blob is eStargz: a footer, and at its offset a tar with the table of contents only.</summary>
    public static async ValueTask<long?> FindTocAsync(Stream blob, CancellationToken cancellationToken)
    {
        if (blob.Length < LegacySize)
            return null;
        var tail = new byte[(int)Math.Min(Size, blob.Length)];
        blob.Position = blob.Length - tail.Length;
        await blob.ReadExactlyAsync(tail, cancellationToken).ConfigureAwait(false);
        if (Parse(tail) is not { } offset || offset >= blob.Length)
            return null;
        blob.Position = offset;
        try
        {
            await using var gzip = new System.IO.Compression.GZipStream(blob, System.IO.Compression.CompressionMode.Decompress, leaveOpen: true);
            var reader = new TarReader(gzip);
            var first = await reader.NextAsync(cancellationToken).ConfigureAwait(false);
            return first?.Name == EStargzEncoder.TocName && await reader.NextAsync(cancellationToken).ConfigureAwait(false) is null ? offset : null;
        }
        catch (Exception e) when (e is InvalidDataException or TarFormatException)
        {
            return null;
        }
    }
}
