using BuildKit.Linux;

namespace BuildKit.Storage.Layers.Tar;

/// <summary>Type flags of tar headers.</summary>
public static class TarType
{
    public const byte Regular = (byte)'0';
    public const byte HardLink = (byte)'1';
    public const byte Symlink = (byte)'2';
    public const byte Char = (byte)'3';
    public const byte Block = (byte)'4';
    public const byte Directory = (byte)'5';
    public const byte Fifo = (byte)'6';
    public const byte OldRegular = 0;
    public const byte GnuSparse = (byte)'S';
    public const byte GnuLongName = (byte)'L';
    public const byte GnuLongLink = (byte)'K';
    public const byte PaxEntry = (byte)'x';
    public const byte PaxGlobal = (byte)'g';

    /// <summary>Whether entries of this type never carry data, whatever their size field says.</summary>
    public static bool IsHeaderOnly(byte type) => type is HardLink or Symlink or Char or Block or Directory or Fifo;
}

/// <summary>One entry of a tar archive. Texts are bytes in <see cref="LinuxText"/> form.</summary>
public sealed record TarHeader
{
    /// <summary>Path as written; directories usually end in a slash.</summary>
    public required string Name { get; init; }

    /// <summary>Target of a link.</summary>
    public string LinkName { get; init; } = "";

    /// <summary>See <see cref="TarType"/>.</summary>
    public byte Type { get; init; } = TarType.Regular;

    /// <summary>Mode bits as written.</summary>
    public long Mode { get; init; }

    /// <summary>Owner.</summary>
    public long Uid { get; init; }

    /// <summary>Group.</summary>
    public long Gid { get; init; }

    /// <summary>Size of the content in bytes (of the expanded file when it is sparse).</summary>
    public long Size { get; init; }

    /// <summary>Modification time.</summary>
    public UnixTime Mtime { get; init; }

    /// <summary>Access time, if the archive has one.</summary>
    public UnixTime? Atime { get; init; }

    /// <summary>Owner name, if any.</summary>
    public string UserName { get; init; } = "";

    /// <summary>Group name, if any.</summary>
    public string GroupName { get; init; } = "";

    /// <summary>Device numbers.</summary>
    public long DevMajor { get; init; }

    /// <summary>Device numbers.</summary>
    public long DevMinor { get; init; }

    /// <summary>Extended attributes by full name (<c>security.capability</c>).</summary>
    public IReadOnlyDictionary<string, byte[]> Xattrs { get; init; } = NoXattrs;

    internal static readonly IReadOnlyDictionary<string, byte[]> NoXattrs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
}

/// <summary>An archive is not well formed.</summary>
public sealed class TarFormatException(string message) : IOException(message)
{
    internal static TarFormatException InvalidHeader() => new("archive/tar: invalid tar header");

    internal static TarFormatException UnexpectedEnd() => new("unexpected EOF");
}
