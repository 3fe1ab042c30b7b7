using System.Buffers.Binary;
using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Storage.Checksums;

/// <summary>What enters a file's digest besides its content, as far as it is kept. Size in bytes, 0 for what is no regular file.</summary>
public readonly record struct ContentStat(uint Mode, uint Uid, uint Gid, long Size);

/// <summary>One path a content digest stands for.</summary>
/// <param name="Path">Path in the tree, with a leading slash; empty for the root.</param>
/// <param name="Kind">What it is.</param>
/// <param name="Mark">Beginning of its digest: enough to see that it changed. For a directory of its header, or of all
/// that is in it when <paramref name="IsWhole"/>.</param>
/// <param name="Stat">Mode, owner and size; null when they are not known.</param>
/// <param name="IsWhole">A directory that stands for everything in it, because the list would be too long.</param>
public readonly record struct ContentEntry(string Path, ContentKind Kind, ulong Mark, ContentStat? Stat, bool IsWhole)
{
    /// <summary>The mark of a digest; 0 for none.</summary>
    public static ulong MarkOf(Digest digest) => digest.IsEmpty ? 0 : BinaryPrimitives.ReadUInt64BigEndian(Convert.FromHexString(digest.Hex.AsSpan(0, 16)));
}

/// <summary>
/// The files a content digest was made of, small enough to be kept: what tells later which of them changed. Paths are
/// sorted by bytes. Saved, each entry holds what its path does not share with the one before.
/// </summary>
public sealed class ContentListing
{
    /// <summary>Entries of the longest list; in a longer one deep directories stand for what is in them.</summary>
    public const int MaxEntries = 50_000;

    private const byte Version = 1;
    private const int KindMask = 7, HasStat = 8, SameStat = 16, Whole = 32;

    private readonly SortedDictionary<string, ContentEntry> _entries = new(LinuxText.ByteOrder);

    /// <summary>The entries by path.</summary>
    public IReadOnlyCollection<ContentEntry> Entries => _entries.Values;

    /// <summary>Whether entries were left out because there were too many.</summary>
    public bool IsCut { get; private set; }

    /// <summary>Adds one path; when it is there already, nothing.</summary>
    public void Add(ContentEntry entry)
    {
        if (_entries.Count < MaxEntries)
            _entries.TryAdd(entry.Path, entry);
        else if (!_entries.ContainsKey(entry.Path))
            IsCut = true;
    }

    /// <summary>Reads a saved list.</summary>
    /// <exception cref="InvalidDataException">The bytes are damaged.</exception>
    public static ContentListing Load(ReadOnlyMemory<byte> saved)
    {
        using var reader = new BinaryReader(new MemoryStream(saved.ToArray()));
        var list = new ContentListing();
        try
        {
            if (reader.ReadByte() != Version)
                throw new InvalidDataException("content list: unknown version");
            list.IsCut = reader.ReadBoolean();
            byte[] path = [];
            var stat = default(ContentStat);
            for (var count = reader.Read7BitEncodedInt(); count > 0; count--)
            {
                var flags = reader.ReadByte();
                var shared = reader.Read7BitEncodedInt();
                path = [.. path.AsSpan(0, shared), .. reader.ReadBytes(reader.Read7BitEncodedInt())];
                var mark = reader.ReadUInt64();
                if ((flags & HasStat) != 0)
                {
                    if ((flags & SameStat) == 0)
                        stat = new ContentStat((uint)reader.Read7BitEncodedInt(), (uint)reader.Read7BitEncodedInt(), (uint)reader.Read7BitEncodedInt(), 0);
                    stat = stat with { Size = reader.Read7BitEncodedInt64() };
                }
                var entry = new ContentEntry(
                    LinuxText.Decode(path), (ContentKind)(flags & KindMask), mark, (flags & HasStat) != 0 ? stat : null, (flags & Whole) != 0);
                list._entries.Add(entry.Path, entry);
            }
            return list;
        }
        catch (Exception e) when (e is EndOfStreamException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"content list: damaged after {reader.BaseStream.Position} of {saved.Length} bytes", e);
        }
    }

    /// <summary>The bytes to keep.</summary>
    public byte[] Save()
    {
        var output = new MemoryStream();
        using var writer = new BinaryWriter(output);
        writer.Write(Version);
        writer.Write(IsCut);
        writer.Write7BitEncodedInt(_entries.Count);
        byte[] last = [];
        var lastStat = default(ContentStat);
        foreach (var entry in _entries.Values)
        {
            var path = LinuxText.Encode(entry.Path);
            var shared = path.AsSpan().CommonPrefixLength(last);
            var isSame = entry.Stat is { } known && (known with { Size = 0 }) == (lastStat with { Size = 0 });
            writer.Write((byte)((int)entry.Kind | (entry.Stat is null ? 0 : HasStat) | (isSame ? SameStat : 0) | (entry.IsWhole ? Whole : 0)));
            writer.Write7BitEncodedInt(shared);
            writer.Write7BitEncodedInt(path.Length - shared);
            writer.Write(path.AsSpan(shared));
            writer.Write(entry.Mark);
            if (entry.Stat is { } stat)
            {
                if (!isSame)
                {
                    writer.Write7BitEncodedInt((int)stat.Mode);
                    writer.Write7BitEncodedInt((int)stat.Uid);
                    writer.Write7BitEncodedInt((int)stat.Gid);
                }
                writer.Write7BitEncodedInt64(stat.Size);
                lastStat = stat;
            }
            last = path;
        }
        writer.Flush();
        return output.ToArray();
    }

    internal void Add(string path, ContentNode node) => Add(new ContentEntry(
        path == "/" ? "" : path, node.Kind, ContentEntry.MarkOf(node.Kind == ContentKind.Directory ? node.Header : node.Digest), node.Stat, IsWhole: false));

    /// <summary>Adds a path and all below it, as deep as there is room.</summary>
    internal void AddTree(string path, ContentNode node)
    {
        var perDepth = new List<int>();
        Count(node, 0, perDepth);
        var room = MaxEntries - _entries.Count;
        var depth = 0;
        for (var sum = 0; depth < perDepth.Count && (sum += perDepth[depth]) <= room; depth++)
        {
        }
        AddTree(path == "/" ? "" : path, node, depth - 1);
    }

    private void AddTree(string path, ContentNode node, int depth)
    {
        if (node.Children is null || (depth <= 0 && node.Children.Count > 0))
        {
            var isWhole = node.Kind == ContentKind.Directory;
            Add(new ContentEntry(path, node.Kind, ContentEntry.MarkOf(node.Digest), node.Stat, isWhole));
            IsCut |= isWhole;
            return;
        }
        Add(path, node);
        foreach (var (name, child) in node.Children)
            AddTree($"{path}/{name}", child, depth - 1);
    }

    private static void Count(ContentNode node, int depth, List<int> perDepth)
    {
        if (perDepth.Count == depth)
            perDepth.Add(0);
        perDepth[depth]++;
        foreach (var child in node.Children?.Values ?? [])
            Count(child, depth + 1, perDepth);
    }
}
