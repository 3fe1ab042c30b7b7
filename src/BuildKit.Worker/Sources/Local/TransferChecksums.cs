using System.Security.Cryptography;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Session.FileSync;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Sources.Local;

/// <summary>Learns the content digests of a tree while it is transferred, so that nothing is read twice.</summary>
internal sealed class TransferChecksums(ContentTree tree) : IReceiveObserver
{
    private static readonly Dictionary<string, byte[]> NoXattrs = new(StringComparer.Ordinal);

    /// <summary>Starts from what an earlier transfer into the same record learnt.</summary>
    public static TransferChecksums Of(IRefMetadata metadata) => new(ContentChecksum.LoadForTransfer(metadata));

    /// <inheritdoc/>
    public IncrementalHash StartHash(SyncStat stat) => Header(stat).StartHash();

    /// <inheritdoc/>
    public void OnChange(ChangeKind kind, string path, SyncStat? stat, Digest digest)
    {
        if (kind == ChangeKind.Delete || stat is null)
        {
            tree.Delete(path);
            return;
        }
        if (stat.IsRegular && stat.Linkname.Length > 0 && tree.PutLink(path, stat.Linkname))
            return;
        tree.Put(path, Header(stat), digest);
    }

    /// <summary>Keeps what was learnt with a record; nothing is written when nothing changed.</summary>
    public async ValueTask SaveAsync(IRefMetadata metadata, CancellationToken cancellationToken)
    {
        await tree.CompleteAsync(cancellationToken);
        if (tree.IsDirty)
            ContentChecksum.Save(metadata, tree);
    }

    private static ContentHeader Header(SyncStat stat) => new()
    {
        Mode = GoFileMode.ToUnix(stat.Mode),
        Uid = stat.Uid,
        Gid = stat.Gid,
        Size = stat.Size,
        LinkName = stat.Linkname,
        DevMajor = stat.DevMajor,
        DevMinor = stat.DevMinor,
        Xattrs = stat.Xattrs is null ? NoXattrs : stat.Xattrs.ToDictionary(xattr => xattr.Key, xattr => xattr.Value, StringComparer.Ordinal),
    };
}
