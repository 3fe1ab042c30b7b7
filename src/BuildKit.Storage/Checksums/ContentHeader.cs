using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BuildKit.Linux;
using BuildKit.Oci;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Checksums;

/// <summary>What of a file enters its content digest (spec 03 §10.1). No modification time, no name.</summary>
public sealed record ContentHeader
{
    /// <summary><c>st_mode</c> with type and permission bits.</summary>
    public required uint Mode { get; init; }

    /// <summary>Owner.</summary>
    public uint Uid { get; init; }

    /// <summary>Group.</summary>
    public uint Gid { get; init; }

    /// <summary>Size in bytes; counts for regular files only.</summary>
    public long Size { get; init; }

    /// <summary>Target of a symlink.</summary>
    public string LinkName { get; init; } = "";

    /// <summary>Device number as sent by a client; 0 when read from disk.</summary>
    public long DevMajor { get; init; }

    /// <summary>Device number as sent by a client; 0 when read from disk.</summary>
    public long DevMinor { get; init; }

    /// <summary>Extended attributes; those that do not count are left out when hashing.</summary>
    public IReadOnlyDictionary<string, byte[]> Xattrs { get; init; } = new Dictionary<string, byte[]>(StringComparer.Ordinal);

    /// <summary>The header of a file on disk.</summary>
    internal static ContentHeader Read(SafeFileHandle root, string path)
    {
        var name = path.Length == 0 ? "." : path;
        var stat = LinuxFile.Lstat(root, name);
        var xattrs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var attribute in Xattr.List(root, name))
        {
            if (Counts(attribute) && Xattr.Get(root, name, attribute) is { } value)
                xattrs[attribute] = value;
        }
        return new ContentHeader
        {
            Mode = stat.Mode,
            Uid = stat.Uid,
            Gid = stat.Gid,
            Size = stat.Size,
            LinkName = stat.IsSymlink ? LinuxFile.ReadLink(root, name) : "",
            Xattrs = xattrs,
        };
    }

    /// <summary>A hash that has taken the header; append the content of a regular file.</summary>
    public IncrementalHash StartHash()
    {
        var type = Mode & UnixMode.TypeMask;
        var flag = type switch
        {
            UnixMode.Symlink => '2',
            UnixMode.Char => '3',
            UnixMode.Block => '4',
            UnixMode.Directory => '5',
            UnixMode.Fifo => '6',
            _ => '0',
        };
        var mode = type == UnixMode.Symlink ? 0x1FF : Mode & UnixMode.PermissionMask;
        var size = type == UnixMode.Regular ? Size : 0;
        var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"namemode{mode}uid{Uid}gid{Gid}size{size}typeflag{flag}linkname")));
        if (type == UnixMode.Symlink)
            hash.AppendData(LinuxText.Encode(LinkName));
        hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"unamegnamedevmajor{DevMajor}devminor{DevMinor}")));
        foreach (var (name, value) in Xattrs.Where(x => Counts(x.Key)).OrderBy(x => x.Key, LinuxText.ByteOrder))
        {
            hash.AppendData(LinuxText.Encode(name));
            hash.AppendData(value);
        }
        return hash;
    }

    /// <summary>What is kept of the header with the digest.</summary>
    internal ContentStat Stat => new(Mode, Uid, Gid, (Mode & UnixMode.TypeMask) == UnixMode.Regular ? Size : 0);

    /// <summary>The digest of a file without content.</summary>
    public Digest Digest()
    {
        using var hash = StartHash();
        return Oci.Digest.FromSha256(hash.GetHashAndReset());
    }

    private static bool Counts(string attribute) =>
        attribute == "security.capability"
        || (!attribute.StartsWith("security.", StringComparison.Ordinal) && !attribute.StartsWith("system.", StringComparison.Ordinal));
}
