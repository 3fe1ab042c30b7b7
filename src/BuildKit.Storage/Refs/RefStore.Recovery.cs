namespace BuildKit.Storage.Refs;

// What a start makes of the state a stop or a kill left (spec 06 §1.6).
public sealed partial class RefStore
{
    /// <summary>Loads the records, drops those that describe what is not there, and sweeps what none describes.</summary>
    internal async Task RecoverAsync(CancellationToken cancellationToken)
    {
        var stored = Table.Load().ToDictionary(r => r.Id, StringComparer.Ordinal);
        var snapshots = (await _snapshotter.ListAsync(cancellationToken)).ToDictionary(s => s.Name, StringComparer.Ordinal);
        var committed = stored.Values.Where(r => r.EqualMutable is not null).Select(r => r.EqualMutable!).ToHashSet(StringComparer.Ordinal);
        var loading = new HashSet<string>(StringComparer.Ordinal);
        var broken = new HashSet<string>(StringComparer.Ordinal);
        var repaired = new List<CacheRecord>();
        foreach (var id in stored.Keys)
            Load(id);
        Table.Delete([.. broken]);
        foreach (var record in repaired)
            Table.Update(record);
        await SweepSnapshotsAsync(snapshots, cancellationToken);
        CollectBlobs(atStart: true);

        CacheRecord? Load(string id)
        {
            if (_records.TryGetValue(id, out var loaded))
                return loaded;
            if (broken.Contains(id) || !stored.TryGetValue(id, out var row) || !loading.Add(id))
                return null;
            var record = Build(row);
            if (record is null)
                broken.Add(id);
            else
                Index(record);
            return record;
        }

        CacheRecord? Build(StoredRecord row)
        {
            var parent = row.Parent is null ? null : Load(row.Parent);
            var merge = row.MergeParents.Select(Load).ToList();
            var lower = row.Lower is null ? null : Load(row.Lower);
            var upper = row.Upper is null ? null : Load(row.Upper);
            var writable = row.EqualMutable is null ? null : Load(row.EqualMutable);
            if ((row.Parent is not null && parent is null) || merge.Contains(null) || (row.Lower is not null && lower is null) || (row.Upper is not null && upper is null))
                return null;

            var combined = row.IsDiff || merge.Count > 0;
            var present = snapshots.TryGetValue(row.Snapshot, out var snapshot);
            if (!row.Committed && (!present || snapshot!.Committed))
                return null;

            // Somebody was writing it when the process ended, and nobody can go on.
            if (row is { Committed: false, Retain: false } && !committed.Contains(row.Id))
                return null;

            // The data is in the writable twin, or was finalized just before the end, or is lost.
            if (row is { Committed: true, BlobOnly: false } && !combined && writable is null && !present)
                return null;
            if (row.BlobOnly && row.Blob.IsEmpty)
                return null;
            if (writable is not null && present)
                writable = null;
            var record = new CacheRecord
            {
                Id = row.Id,
                SnapshotId = row.Snapshot,
                Committed = row.Committed,
                Parent = parent,
                MergeParents = merge.ConvertAll(m => m!),
                LowerDiffParent = lower,
                UpperDiffParent = upper,
                IsDiff = row.IsDiff,
                EqualMutable = writable,
                Retain = row.Retain,
                BlobOnly = row.BlobOnly,
                Size = row.Committed ? row.Size : -1,
                Description = row.Description,
                RecordType = row.RecordType,
                CreatedAt = row.CreatedAt,
                LastUsedAt = row.LastUsedAt,
                UsageCount = row.UsageCount,
                DiffId = row.DiffId,
                Blob = row.Blob,
                Chain = row.Chain,
                MediaType = row.MediaType,
                BlobSize = row.BlobSize,
                Urls = row.Urls,
                ImageRefs = row.ImageRefs,
            };
            if (writable is not null)
                writable.EqualImmutable = record;
            else if (row.EqualMutable is not null)
                repaired.Add(record);

            // A blob that got lost is made again when it is wanted.
            if (!record.BlobOnly && !record.Blob.IsEmpty && !_content.Contains(record.Blob))
            {
                record.Size = -1;
                if (record.ImageRefs.Count == 0)
                {
                    record.Blob = default;
                    record.Chain = default;
                }

                repaired.Add(record);
            }

            return record;
        }
    }

    private async Task SweepSnapshotsAsync(Dictionary<string, Snapshots.SnapshotInfo> snapshots, CancellationToken cancellationToken)
    {
        var kept = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in _snapshotUsers.Keys)
        {
            for (var next = name; next is not null && snapshots.TryGetValue(next, out var info) && kept.Add(next);)
                next = info.Parent;
        }

        // Children before parents: what is not kept has no kept children.
        var doomed = snapshots.Values.Where(s => !kept.Contains(s.Name)).ToDictionary(s => s.Name, StringComparer.Ordinal);
        while (doomed.Count > 0)
        {
            var parents = doomed.Values.Select(s => s.Parent).ToHashSet(StringComparer.Ordinal);
            foreach (var leaf in doomed.Keys.Where(name => !parents.Contains(name)).ToList())
            {
                await _snapshotter.RemoveAsync(leaf, cancellationToken);
                doomed.Remove(leaf);
            }
        }
    }
}
