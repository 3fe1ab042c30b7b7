using BuildKit.Database;
using BuildKit.Linux;

namespace BuildKit.Storage.Snapshots;

/// <summary>Snapshots as full copies of their parent (spec 06 §2.2): needs nothing from the kernel but bind mounts.</summary>
public sealed class NativeSnapshotter : ISnapshotter
{
    private readonly SnapshotIndex _index;

    /// <summary>Opens the snapshots below <paramref name="root"/> and sweeps leftovers.</summary>
    public NativeSnapshotter(string root, SqliteDatabase database)
    {
        _index = new SnapshotIndex(root, database);
        _index.Sweep();
    }

    /// <inheritdoc/>
    public string Name => "native";

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<MountSpec>> PrepareAsync(
        string key, string? parent, IReadOnlyDictionary<string, string>? labels, CancellationToken cancellationToken)
    {
        var row = _index.Create(key, parent, SnapshotKind.Active, labels, (directory, parentRow) =>
        {
            var fs = MakeFs(directory);
            if (parentRow is not null)
                TreeCopy.Copy(_index.FsOf(parentRow.Id), fs, cancellationToken);
        });
        return new(MountsOf(row));
    }

    /// <inheritdoc/>
    public ValueTask<IReadOnlyList<MountSpec>> ViewAsync(string key, string? parent, CancellationToken cancellationToken) =>
        new(MountsOf(_index.Create(key, parent, SnapshotKind.View, null, static (directory, _) => MakeFs(directory))));

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

    private static string MakeFs(string directory)
    {
        var fs = Path.Combine(directory, "fs");
        LinuxFile.Mkdir(fs, 0b111_101_101);
        LinuxFile.Chmod(fs, 0b111_101_101);
        return fs;
    }

    private List<MountSpec> MountsOf(SnapshotRow row)
    {
        var source = row is { Kind: SnapshotKind.View, Parent: { } parent } ? parent : row.Id;
        return [new MountSpec("bind", _index.FsOf(source), [row.Kind == SnapshotKind.Active ? "rw" : "ro", "rbind"])];
    }
}
