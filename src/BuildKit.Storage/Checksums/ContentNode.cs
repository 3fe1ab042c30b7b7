using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Storage.Checksums;

/// <summary>What a path of a content tree is; other kinds of files count as files.</summary>
public enum ContentKind : byte
{
    /// <summary>Anything that is neither of the others.</summary>
    File = 0,

    /// <summary>A directory.</summary>
    Directory = 1,

    /// <summary>A symbolic link.</summary>
    Symlink = 3,
}

/// <summary>One path of a content tree. Digests are empty until they are needed.</summary>
internal sealed class ContentNode(string name, ContentKind kind)
{
    internal string Name { get; } = name;

    internal ContentKind Kind { get; } = kind;

    /// <summary>Digest of a file or symlink; recursive digest of a directory.</summary>
    internal Digest Digest { get; set; }

    /// <summary>Header digest of a directory.</summary>
    internal Digest Header { get; set; }

    /// <summary>What went into the digest besides the content; null when it was hashed before that was kept.</summary>
    internal ContentStat? Stat { get; set; }

    /// <summary>Target of a symlink; null when it was not read yet.</summary>
    internal string? LinkName { get; set; }

    /// <summary>Names in a directory, ordered by bytes; null when it was not listed yet.</summary>
    internal SortedList<string, ContentNode>? Children { get; set; }

    internal static SortedList<string, ContentNode> NewChildren() => new(LinuxText.ByteOrder);
}
