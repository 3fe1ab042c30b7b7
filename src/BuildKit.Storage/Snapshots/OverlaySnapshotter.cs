using BuildKit.Database;
using BuildKit.Linux;

namespace BuildKit.Storage.Snapshots;

/// <summary>
/// Snapshots as overlay layers: <c>snapshots/&lt;n&gt;/fs</c> and, when writable, <c>snapshots/&lt;n&gt;/work</c>
/// (spec 06 §2.1). With <paramref name="mountType"/> <c>fuse3.fuse-overlayfs</c> the program does what the kernel cannot.
/// </summary>
public sealed class OverlaySnapshotter : ISnapshotter
{
    private readonly SnapshotIndex _index;
    private readonly string _mountType;
    private readonly IReadOnlyList<string> _extras;

    /// <summary>Opens the snapshots below <paramref name="root"/> and sweeps leftovers.</summary>
    /// <param name="root">Directory of the snapshotter.</param>
    /// <param name="database">Where names and parents are kept.</param>
    /// <param name="fuse">Mount with fuse-overlayfs.</param>
    public OverlaySnapshotter(string root, SqliteDatabase database, bool fuse = false)
    {
        Name = fuse ? "fuse-overlayfs" : "overlayfs";
        _mountType = fuse ? "fuse3.fuse-overlayfs" : "overlay";
        _extras = fuse ? [] : OverlaySupport.Extras(root);
        _index = new SnapshotIndex(root, database);
        _index.Sweep();
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<MountSpec>> PrepareAsync(
        string key, string? parent, IReadOnlyDictionary<string, string>? labels, CancellationToken cancellationToken) =>
        new(MountsOf(Create(key, parent, SnapshotKind.Active, labels)));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<MountSpec>> ViewAsync(string key, string? parent, CancellationToken cancellationToken) =>
        new(MountsOf(Create(key, parent, SnapshotKind.View, null)));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<MountSpec>> MountsAsync(string key, CancellationToken cancellationToken) => new(MountsOf(_index.Require(key)));

    /// <inheritdoc/>
    public ValueTask CommitAsync(string name, string key, IReadOnlyDictionary<string, string>? labels, CancellationToken cancellationToken)
    {
        _index.Commit(name, key, labels);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask RemoveAsync(string key, CancellationToken cancellationToken)
    {
        _index.Remove(key);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask<SnapshotInfo?> StatAsync(string key, CancellationToken cancellationToken) => new(_index.Stat(key));

    /// <inheritdoc/>
    public ValueTask<(long Bytes, long Inodes)> UsageAsync(string key, CancellationToken cancellationToken) => new(_index.Usage(key, cancellationToken));

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<SnapshotInfo>> ListAsync(CancellationToken cancellationToken) => new(_index.List());

    /// <inheritdoc/>
    public Task WhenRemovedAsync() => _index.EmptyTrashAsync();

    private SnapshotRow Create(string key, string? parent, SnapshotKind kind, IReadOnlyDictionary<string, string>? labels) =>
        _index.Create(key, parent, kind, labels, (directory, parentRow) =>
        {
            var fs = Path.Combine(directory, "fs");
            LinuxFile.Mkdir(fs, 0b111_101_101);
            LinuxFile.Chmod(fs, 0b111_101_101);
            if (parentRow is not null)
            {
                var owner = LinuxFile.Lstat(_index.FsOf(parentRow.Id));
                if (owner.Uid != LinuxProcess.EffectiveUserId || owner.Gid != LinuxProcess.EffectiveGroupId)
                    LinuxFile.Lchown(fs, owner.Uid, owner.Gid);
            }

            if (kind != SnapshotKind.Active)
                return;
            var work = Path.Combine(directory, "work");
            LinuxFile.Mkdir(work, 0b111_001_001);
            LinuxFile.Chmod(work, 0b111_001_001);
        });

    // A committed snapshot is mounted like a view of it: its own fs is then the nearest lower directory.
    private List<MountSpec> MountsOf(SnapshotRow row)
    {
        var parents = _index.Parents(row).Select(_index.FsOf).ToList();
        var own = _index.FsOf(row.Id);
        if (row.Kind == SnapshotKind.Committed)
            parents.Insert(0, own);
        if (parents.Count == 0)
            return [new MountSpec("bind", own, [row.Kind == SnapshotKind.Active ? "rw" : "ro", "rbind"])];
        if (row.Kind != SnapshotKind.Active && parents.Count == 1)
            return [new MountSpec("bind", parents[0], ["ro", "rbind"])];
        List<string> options = [];
        if (row.Kind == SnapshotKind.Active)
        {
            options.Add("workdir=" + Path.Combine(_index.DirectoryOf(row.Id), "work"));
            options.Add("upperdir=" + own);
        }

        options.Add("lowerdir=" + string.Join(':', parents));
        options.AddRange(_extras);
        return [new MountSpec(_mountType, "overlay", options)];
    }
}
