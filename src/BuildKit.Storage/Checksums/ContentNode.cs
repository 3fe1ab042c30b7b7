using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Storage.Checksums;

internal enum ContentKind : byte
{
    File = 0,
    Directory = 1,
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

    /// <summary>Target of a symlink; null when it was not read yet.</summary>
    internal string? LinkName { get; set; }

    /// <summary>Names in a directory, ordered by bytes; null when it was not listed yet.</summary>
    internal SortedList<string, ContentNode>? Children { get; set; }

    internal static SortedList<string, ContentNode> NewChildren() => new(LinuxText.ByteOrder);
}
