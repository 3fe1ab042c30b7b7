using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

// Commit, finalize, release and removal (spec 06 §1.2).
public sealed partial class RefStore
{
    private readonly SingleFlight<string, bool> _finalizing = new();

    /// <summary>A second, immutable record over the writable one's snapshot, which stays where it is until it is finalized.</summary>
    internal ImmutableRef Commit(CacheRecord writable, RefOptions options)
    {
        var id = Identifiers.New();
        var record = new CacheRecord { Id = id, SnapshotId = id, Parent = writable.Parent, Committed = true, EqualMutable = writable };
        Initialize(record, RefOptions.Default with { Description = writable.Description, RecordType = writable.RecordType });
        lock (_gate)
        {
            record.Holds = 1;
            record.Uses = 1;
            Register(record);
            writable.EqualImmutable = record;
            writable.Holds = 0;
            writable.Uses = 0;
            return new ImmutableRef(this, record, options, countsUse: true);
        }
    }

    internal Task FinalizeAsync(CacheRecord record, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (record.EqualMutable is null)
                return Task.CompletedTask;
        }

        return _finalizing.RunAsync(record.Id, cancel => FinalizeOnceAsync(record, cancel), cancellationToken);
    }

    /// <summary>The snapshot that holds a record's tree now.</summary>
    internal string SnapshotOf(CacheRecord record)
    {
        lock (_gate)
            return record.EqualMutable?.SnapshotId ?? record.SnapshotId;
    }

    internal async ValueTask ReleaseAsync(CacheRecord record, bool countsUse)
    {
        List<CacheRecord> removed = [];
        lock (_gate)
        {
            record.Holds--;
            if (countsUse && --record.Uses == 0)
            {
                record.UsageCount++;
                record.LastUsedAt = _time.GetUtcNow();
                if (!record.Dead)
                    Table.UpdateLater(record);
            }

            if (record.Holds > 0 || record.Dead)
                return;
            if (!record.Committed && !record.Retain)
            {
                removed.Add(record);
                Unregister(record);
            }
            else if (record is { Retain: false, Children: 0, EqualMutable: { Retain: false, Holds: 0 } writable })
            {
                // The data would be lost at the next use as a writable record anyway.
                removed.Add(record);
                removed.Add(writable);
                Unregister(record, writable);
            }
        }

        await DeleteDataAsync(removed);
    }

    private async Task<bool> FinalizeOnceAsync(CacheRecord record, CancellationToken cancellationToken)
    {
        CacheRecord writable;
        lock (_gate)
        {
            if (record.EqualMutable is not { } twin)
                return true;
            writable = twin;
        }

        // A finalize that failed between its two steps finds the snapshot already committed.
        if (await _snapshotter.StatAsync(record.SnapshotId, cancellationToken) is null)
            await _snapshotter.CommitAsync(record.SnapshotId, writable.SnapshotId, null, cancellationToken);
        lock (_gate)
        {
            record.EqualMutable = null;
            record.Size = record.Size < 0 ? writable.Size : record.Size;
            Table.ReplaceMutable(record, writable.Id);
            Forget(writable);
        }

        return true;
    }

    // The rows are gone already: whatever a crash leaves here is unreferenced and swept at the next start.
    private async ValueTask DeleteDataAsync(params IReadOnlyList<CacheRecord> records)
    {
        if (records.Count == 0)
            return;
        lock (_gate)
        {
            foreach (var record in records)
                Orphan(record.Blob);
        }

        try
        {
            foreach (var snapshot in records.Select(static r => r.SnapshotId).Distinct(StringComparer.Ordinal))
                await DeleteSnapshotAsync(snapshot);
        }
        finally
        {
            foreach (var record in records)
                RecordRemoved?.Invoke(record.Id);
        }
    }

    // Not while another record finds the snapshot and relies on it.
    private async ValueTask DeleteSnapshotAsync(string snapshot)
    {
        await _naming.WaitAsync(CancellationToken.None);
        try
        {
            bool used;
            lock (_gate)
                used = _snapshotUsers.ContainsKey(snapshot);
            if (!used)
                await _snapshotter.RemoveAsync(snapshot, CancellationToken.None);
        }
        finally
        {
            _naming.Release();
        }
    }

    // Snapshots are found by name, or removed, one at a time.
    private readonly SemaphoreSlim _naming = new(1, 1);
}
