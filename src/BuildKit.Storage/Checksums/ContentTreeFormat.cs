using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Storage.Checksums;

/// <summary>
/// A saved tree: version byte, then nodes depth first. A node is: kind and flags (one byte), name, digests as 32 raw
/// bytes where known, link target where read, mode, owner, group and size where known (since version 2), number of
/// children where listed. Texts carry their length.
/// </summary>
internal static class ContentTreeFormat
{
    private const byte Version = 2;
    private const int KindMask = 7, HasStat = 8, HasDigest = 16, HasHeader = 32, HasChildren = 64, HasLink = 128;

    internal static byte[] Write(ContentNode root)
    {
        var output = new MemoryStream();
        using var writer = new BinaryWriter(output);
        writer.Write(Version);
        WriteNode(writer, root);
        writer.Flush();
        return output.ToArray();
    }

    /// <summary>Reads a saved tree into its root; how many nodes it has.</summary>
    internal static int Read(ReadOnlySpan<byte> saved, ContentNode root)
    {
        using var reader = new BinaryReader(new MemoryStream(saved.ToArray()));
        try
        {
            if (reader.ReadByte() is not (1 or Version))
                throw new InvalidDataException("content checksums: unknown version");
            var flags = reader.ReadByte();
            _ = ReadText(reader);
            return ReadBody(reader, root, flags);
        }
        catch (Exception e) when (e is EndOfStreamException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"content checksums: damaged after {reader.BaseStream.Position} of {saved.Length} bytes", e);
        }
    }

    private static void WriteNode(BinaryWriter writer, ContentNode node)
    {
        var flags = (int)node.Kind;
        flags |= node.Digest.IsEmpty ? 0 : HasDigest;
        flags |= node.Header.IsEmpty ? 0 : HasHeader;
        flags |= node.Children is null ? 0 : HasChildren;
        flags |= node.LinkName is null ? 0 : HasLink;
        flags |= node.Stat is null ? 0 : HasStat;
        writer.Write((byte)flags);
        WriteText(writer, node.Name);
        if (!node.Digest.IsEmpty)
            writer.Write(Convert.FromHexString(node.Digest.Hex));
        if (!node.Header.IsEmpty)
            writer.Write(Convert.FromHexString(node.Header.Hex));
        if (node.LinkName is { } link)
            WriteText(writer, link);
        if (node.Stat is { } stat)
        {
            writer.Write7BitEncodedInt((int)stat.Mode);
            writer.Write7BitEncodedInt((int)stat.Uid);
            writer.Write7BitEncodedInt((int)stat.Gid);
            writer.Write7BitEncodedInt64(stat.Size);
        }
        if (node.Children is not { } children)
            return;
        writer.Write7BitEncodedInt(children.Count);
        foreach (var child in children.Values)
            WriteNode(writer, child);
    }

    private static int ReadBody(BinaryReader reader, ContentNode node, int flags)
    {
        if ((flags & HasDigest) != 0)
            node.Digest = ReadDigest(reader);
        if ((flags & HasHeader) != 0)
            node.Header = ReadDigest(reader);
        if ((flags & HasLink) != 0)
            node.LinkName = ReadText(reader);
        if ((flags & HasStat) != 0)
            node.Stat = new ContentStat((uint)reader.Read7BitEncodedInt(), (uint)reader.Read7BitEncodedInt(), (uint)reader.Read7BitEncodedInt(), reader.Read7BitEncodedInt64());
        if ((flags & HasChildren) == 0)
            return 1;
        node.Children = ContentNode.NewChildren();
        var nodes = 1;
        for (var count = reader.Read7BitEncodedInt(); count > 0; count--)
        {
            var childFlags = reader.ReadByte();
            var child = new ContentNode(ReadText(reader), (ContentKind)(childFlags & KindMask));
            nodes += ReadBody(reader, child, childFlags);
            node.Children.Add(child.Name, child);
        }
        return nodes;
    }

    private static Digest ReadDigest(BinaryReader reader)
    {
        var bytes = reader.ReadBytes(32);
        return bytes.Length == 32 ? Digest.FromSha256(bytes) : throw new EndOfStreamException();
    }

    private static string ReadText(BinaryReader reader)
    {
        var length = reader.Read7BitEncodedInt();
        var bytes = reader.ReadBytes(length);
        return bytes.Length == length ? LinuxText.Decode(bytes) : throw new EndOfStreamException();
    }

    private static void WriteText(BinaryWriter writer, string text)
    {
        var bytes = LinuxText.Encode(text);
        writer.Write7BitEncodedInt(bytes.Length);
        writer.Write(bytes);
    }
}
