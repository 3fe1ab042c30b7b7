using BuildKit.Database;
using BuildKit.Linux;

namespace BuildKit.Storage.Snapshots;

/// <summary>
/// Names, parents and directories of snapshots, common to all snapshotters. A snapshot's directory is made under
/// a temporary name and renamed inside the transaction that records it; it is renamed away after the transaction
/// that forgets it, and deleted in the background. <see cref="Sweep"/> removes whatever was left between.
/// </summary>
internal sealed class SnapshotIndex(string root, SqliteDatabase database)
{
    private readonly string _directories = Path.Combine(root, "snapshots");
    private readonly string _trash = Path.Combine(root, "trash");
    private Task _emptying = Task.CompletedTask;
    private readonly Lock _emptyingLock = new();

    /// <summary>Makes the directories, moves away what no row knows and forgets rows without a directory.</summary>
    public void Sweep()
    {
        LinuxFile.MkdirAll(_directories, 0b111_000_000);
        LinuxFile.MkdirAll(_trash, 0b111_000_000);
        var known = database.Read(c => c.Query("SELECT id FROM snapshots", static row => row.Int64(0))).ToHashSet();
        foreach (var directory in Directory.EnumerateDirectories(_directories))
        {
            var name = Path.GetFileName(directory);
            if (!long.TryParse(name, out var id) || !known.Remove(id))
                Discard(directory);
        }

        // What is left has no directory, and everything built on it is as useless.
        if (known.Count > 0)
        {
            database.Write(c =>
            {
                foreach (var id in known)
                    Forget(c, id);
            });
        }
        if (Directory.EnumerateDirectories(_trash).Any())
            EmptyTrash();
    }

    /// <summary>Makes a snapshot whose directory is filled by <paramref name="fill"/> (its path, the parent).</summary>
    public SnapshotRow Create(
        string name, string? parent, SnapshotKind kind, IReadOnlyDictionary<string, string>? labels, Action<string, SnapshotRow?> fill)
    {
        var parentRow = parent is null ? null : Find(parent);
        if (parent is not null && parentRow is not { Kind: SnapshotKind.Committed })
            throw new InvalidOperationException($"parent snapshot {parent} of {name}: {(parentRow is null ? "not found" : "not committed")}");
        var temporary = Path.Combine(_directories, "new-" + Identifiers.New());
        LinuxFile.Mkdir(temporary, 0b111_000_000);
        var renamed = "";
        try
        {
            fill(temporary, parentRow);
            return database.Write(c =>
            {
                if (FindIn(c, name) is not null)
                    throw new SnapshotExistsException(name);
                c.Execute("INSERT INTO snapshots (name, parent, kind) VALUES (?1, ?2, ?3)", name, parentRow?.Id, (long)kind);
                var id = c.QueryInt64("SELECT last_insert_rowid()");
                WriteLabels(c, id, labels);
                LinuxFile.Rename(temporary, DirectoryOf(id), noReplace: true);
                renamed = DirectoryOf(id);
                return new SnapshotRow(id, name, parentRow?.Id, kind, null, null);
            });
        }
        catch
        {
            // A number that was taken back is given out again: its directory must be free.
            Discard(renamed.Length > 0 ? renamed : temporary);
            throw;
        }
    }

    public string DirectoryOf(long id) => Path.Combine(_directories, id.ToString());

    public string FsOf(long id) => Path.Combine(_directories, id.ToString(), "fs");

    public SnapshotRow? Find(string name) => database.Read(c => FindIn(c, name));

    public SnapshotRow Require(string name) => Find(name) ?? throw new InvalidOperationException($"snapshot {name}: not found");

    /// <summary>The parents of a snapshot, nearest first.</summary>
    public IReadOnlyList<long> Parents(SnapshotRow row) => row.Parent is not { } parent ? [] : database.Read(c => c.Query(
        """
        WITH RECURSIVE chain (id, parent, depth) AS (
            SELECT id, parent, 0 FROM snapshots WHERE id = ?1
            UNION ALL SELECT s.id, s.parent, depth + 1 FROM snapshots s JOIN chain ON s.id = chain.parent)
        SELECT id FROM chain ORDER BY depth
        """,
        static r => r.Int64(0),
        parent));

    public void Commit(string name, string key, IReadOnlyDictionary<string, string>? labels) => database.Write(c =>
    {
        if (FindIn(c, name) is not null)
            throw new SnapshotExistsException(name);
        var row = FindIn(c, key) ?? throw new InvalidOperationException($"snapshot {key}: not found");
        if (row.Kind != SnapshotKind.Active)
            throw new InvalidOperationException($"snapshot {key}: not active");
        c.Execute("UPDATE snapshots SET name = ?2, kind = ?3, bytes = NULL, inodes = NULL WHERE id = ?1", row.Id, name, (long)SnapshotKind.Committed);
        WriteLabels(c, row.Id, labels);
    });

    public void Remove(string key)
    {
        var id = database.Write(c =>
        {
            if (FindIn(c, key) is not { } row)
                return -1;
            if (c.QueryInt64("SELECT count(*) FROM snapshots WHERE parent = ?1", row.Id) != 0)
                throw new InvalidOperationException($"cannot remove snapshot {key} with child");
            c.Execute("DELETE FROM snapshots WHERE id = ?1", row.Id);
            return row.Id;
        });
        if (id < 0)
            return;
        Discard(DirectoryOf(id));
        EmptyTrash();
    }

    public IReadOnlyList<SnapshotInfo> List() => database.Read(c =>
    {
        var names = c.Query("SELECT name FROM snapshots ORDER BY id", static row => row.String(0));
        return names.ConvertAll(name => InfoIn(c, FindIn(c, name)!));
    });

    public SnapshotInfo? Stat(string name) => database.Read(c => FindIn(c, name) is { } row ? InfoIn(c, row) : null);

    /// <summary>Disk usage; remembered for committed snapshots, which never change.</summary>
    public (long Bytes, long Inodes) Usage(string name, CancellationToken cancellationToken)
    {
        var row = Require(name);
        if (Stat(name) is { } info && info.Labels.TryGetValue("buildkit.mergeUsageSize", out var size) && long.TryParse(size, out var mergedBytes))
        {
            return info.Labels.TryGetValue("buildkit.mergeUsageInodes", out var inodes) && long.TryParse(inodes, out var mergedInodes)
                ? (mergedBytes, mergedInodes)
                : (mergedBytes, 0);
        }

        if (row is { Bytes: { } bytes, Inodes: { } count })
            return (bytes, count);
        if (row.Kind == SnapshotKind.View)
            return (0, 0);
        var usage = LinuxDirectory.Usage(FsOf(row.Id), cancellationToken);
        if (row.Kind == SnapshotKind.Committed)
            database.Write(c => c.Execute("UPDATE snapshots SET bytes = ?2, inodes = ?3 WHERE id = ?1", row.Id, usage.Bytes, usage.Inodes));
        return usage;
    }

    /// <summary>Ends when no removed directory is left on disk.</summary>
    public Task EmptyTrashAsync()
    {
        lock (_emptyingLock)
            return _emptying;
    }

    // Deleting a tree is long blocking work with nobody waiting for it: it has a thread of its own.
    private void EmptyTrash()
    {
        lock (_emptyingLock)
        {
            _emptying = _emptying.ContinueWith(
                _ =>
                {
                    foreach (var directory in Directory.EnumerateDirectories(_trash))
                        LinuxDirectory.RemoveTree(directory);
                },
                CancellationToken.None,
                TaskContinuationOptions.LongRunning,
                TaskScheduler.Default);
        }
    }

    private void Discard(string directory)
    {
        if (Directory.Exists(directory))
            LinuxFile.Rename(directory, Path.Combine(_trash, Identifiers.New()));
    }

    private void Forget(SqliteConnection c, long id)
    {
        foreach (var child in c.Query("SELECT id FROM snapshots WHERE parent = ?1", static row => row.Int64(0), id))
            Forget(c, child);
        c.Execute("DELETE FROM snapshots WHERE id = ?1", id);
        Discard(DirectoryOf(id));
    }

    private static SnapshotRow? FindIn(SqliteConnection c, string name) => c.QueryFirst(
        "SELECT id, name, parent, kind, bytes, inodes FROM snapshots WHERE name = ?1",
        static row => new SnapshotRow(row.Int64(0), row.String(1), row.Int64OrNull(2), (SnapshotKind)row.Int64(3), row.Int64OrNull(4), row.Int64OrNull(5)),
        name);

    private static SnapshotInfo InfoIn(SqliteConnection c, SnapshotRow row)
    {
        var parent = row.Parent is { } id ? c.QueryString("SELECT name FROM snapshots WHERE id = ?1", id) : null;
        var labels = c.Query("SELECT key, value FROM snapshot_labels WHERE id = ?1", static r => (Key: r.String(0), Value: r.String(1)), row.Id)
            .ToDictionary(label => label.Key, label => label.Value, StringComparer.Ordinal);
        return new SnapshotInfo(row.Name, parent, row.Kind == SnapshotKind.Committed, row.Kind == SnapshotKind.View, labels);
    }

    private static void WriteLabels(SqliteConnection c, long id, IReadOnlyDictionary<string, string>? labels)
    {
        foreach (var (key, value) in labels ?? new Dictionary<string, string>())
            c.Execute("INSERT INTO snapshot_labels VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3", id, key, value);
    }
}

internal enum SnapshotKind
{
    Active = 1,
    View = 2,
    Committed = 3,
}

internal sealed record SnapshotRow(long Id, string Name, long? Parent, SnapshotKind Kind, long? Bytes, long? Inodes);
