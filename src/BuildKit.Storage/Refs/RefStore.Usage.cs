using BuildKit.Linux;
using BuildKit.Oci;

namespace BuildKit.Storage.Refs;

// Sizes, du, prune (spec 06 §1.5, §5).
public sealed partial class RefStore
{
    // At most this many records go between two looks at the graph when there is no cap to stop at.
    private const int PruneBatch = 10;

    private readonly SemaphoreSlim _pruning = new(1, 1);

    /// <inheritdoc/>
    public async Task<IReadOnlyList<UsageRecord>> DiskUsageAsync(IReadOnlyList<string> filters, CancellationToken cancellationToken)
    {
        UsageFilter filter;
        try
        {
            filter = UsageFilter.Parse(filters);
        }
        catch (FormatException error)
        {
            throw new FormatException($"failed to parse diskusage filters [{string.Join(' ', filters)}]: {error.Message}", error);
        }

        List<(CacheRecord Record, UsageRecord Usage)> listed;
        lock (_gate)
        {
            var inUse = InUse();
            listed = _records.Values
                .Where(static r => !IsHiddenTwin(r))
                .Select(r => (r, Describe(r, inUse.Contains(r), r.Parents.Select(static p => p.Id).ToList())))
                .Where(line => filter.Matches(line.Item2))
                .ToList();
        }

        var result = new UsageRecord[listed.Count];
        await Parallel.ForAsync(0, listed.Count, cancellationToken, async (i, cancel) =>
        {
            var (record, usage) = listed[i];
            var mutableInUse = usage is { Mutable: true, InUse: true };
            result[i] = usage with { Size = mutableInUse ? 0 : await SizeAsync(record, cancel) };
        });
        return result;
    }

    /// <inheritdoc/>
    public async Task PruneAsync(IReadOnlyList<PruneOptions> policies, Action<UsageRecord> onPruned, CancellationToken cancellationToken)
    {
        await _pruning.WaitAsync(cancellationToken);
        try
        {
            foreach (var policy in policies)
                await PruneOneAsync(policy, onPruned, cancellationToken);
        }
        finally
        {
            // What was pruned before a failure or a cancel has left blobs behind, too.
            try
            {
                CollectBlobs(atStart: false);
            }
            finally
            {
                _pruning.Release();
            }
        }
    }

    /// <summary>Ends when the disk space of removed snapshots is free.</summary>
    public Task WhenRemovedAsync() => _snapshotter.WhenRemovedAsync();

    private async Task PruneOneAsync(PruneOptions policy, Action<UsageRecord> onPruned, CancellationToken cancellationToken)
    {
        UsageFilter filter;
        try
        {
            filter = UsageFilter.Parse(policy.Filters);
        }
        catch (FormatException error)
        {
            throw new FormatException($"failed to parse prune filters [{string.Join(' ', policy.Filters)}]: {error.Message}", error);
        }

        long total = 0;
        var keep = 0L;
        if (policy.ReservedSpace != 0 || policy.MaxUsedSpace != 0 || policy.MinFreeSpace != 0)
        {
            total = (await DiskUsageAsync([], cancellationToken)).Sum(static r => r.Size);
            var free = _options.FreeBytes is { } given ? given() : FileSystemStatistics.Of(_root).FreeBytes;
            if (PruneSelection.KeepBytes(policy, total, free) is not { } bytes)
                return;
            keep = bytes;
        }

        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (keep != 0 && total < keep)
                return;
            var selected = Select(policy, filter, keep != 0);
            if (selected.Count == 0)
                return;
            try
            {
                foreach (var record in selected)
                {
                    var usage = await RemoveAsync(record);
                    total -= usage.Size;
                    onPruned(usage with { PrunedBy = policy });
                }
            }
            catch
            {
                Revive(selected);
                throw;
            }
        }
    }

    private List<CacheRecord> Select(PruneOptions policy, UsageFilter filter, bool capped)
    {
        lock (_gate)
        {
            var cutOff = _time.GetUtcNow() - policy.KeepDuration;
            var candidates = _records.Values.Where(r =>
                !r.Dead && r.IsFree && !IsHiddenTwin(r) && r.EqualImmutable is null or { IsFree: true } &&
                (policy.All || r.RecordType is not ("internal" or "frontend")) &&
                (policy.KeepDuration == TimeSpan.Zero || r.LastUsedAt is not { } used || used <= cutOff) &&
                filter.Matches(Describe(r, inUse: false, []))).ToList();
            var selected = capped ? PruneSelection.Best(candidates, static r => (r.LastUsedAt, r.UsageCount)).Take(1) : candidates.Take(PruneBatch);
            var result = selected.ToList();
            foreach (var record in result)
            {
                // Nobody can take it up from here on.
                record.Dead = true;
                if (record.EqualImmutable is { } twin)
                    twin.Dead = true;
            }

            return result;
        }
    }

    // Those of a batch that are still there can be used again.
    private void Revive(IEnumerable<CacheRecord> selected)
    {
        lock (_gate)
        {
            foreach (var record in selected.Where(r => _records.ContainsKey(r.Id)))
            {
                record.Dead = false;
                if (record.EqualImmutable is { } twin)
                    twin.Dead = false;
            }
        }
    }

    private async Task<UsageRecord> RemoveAsync(CacheRecord record)
    {
        var size = await SizeAsync(record, CancellationToken.None);
        UsageRecord usage;
        CacheRecord? twin;
        lock (_gate)
        {
            usage = Describe(record, inUse: false, record.Parents.Select(static p => p.Id).ToList()) with { Size = size, RecordType = "" };
            twin = record.EqualImmutable;
            if (twin is null)
                Unregister(record);
            else
                Unregister(twin, record);
        }

        if (twin is null)
            await DeleteDataAsync(record);
        else
            await DeleteDataAsync(twin, record);
        return usage with { RemovedIds = twin is null ? [record.Id] : [record.Id, twin.Id] };
    }

    // Of two records over one snapshot one is shown (spec 06 §1.5).
    private static bool IsHiddenTwin(CacheRecord record) =>
        (record.EqualMutable is not null && record.IsFree) || (record.EqualImmutable is { IsFree: false });

    // A record is in use when it is held or when something built on it is in use.
    private HashSet<CacheRecord> InUse()
    {
        var inUse = new HashSet<CacheRecord>();
        var open = new Stack<CacheRecord>(_records.Values.Where(static r => r.Holds > 0));
        while (open.TryPop(out var record))
        {
            if (!inUse.Add(record))
                continue;
            foreach (var parent in record.Parents)
                open.Push(parent);
            if (record.EqualMutable is { } writable)
                open.Push(writable);
        }

        return inUse;
    }

    private static UsageRecord Describe(CacheRecord r, bool inUse, IReadOnlyList<string> parents) => new(
        r.Id, !r.Committed, inUse, Math.Max(r.Size, 0), r.CreatedAt, r.LastUsedAt, r.UsageCount, r.Description,
        r.RecordType.Length == 0 ? "regular" : r.RecordType, Shared: false, parents);

    /// <summary>Bytes of the record's own tree, blob and variants; kept with the record until one of them changes.</summary>
    private async Task<long> SizeAsync(CacheRecord record, CancellationToken cancellationToken)
    {
        string snapshot;
        lock (_gate)
        {
            if (record.Size >= 0)
                return record.Size;
            snapshot = record.EqualMutable?.SnapshotId ?? record.SnapshotId;
        }

        var size = 0L;
        if (!record.BlobOnly && await _snapshotter.StatAsync(snapshot, cancellationToken) is not null)
        {
            try
            {
                size += (await _snapshotter.UsageAsync(snapshot, cancellationToken)).Bytes;
            }
            catch (Exception error) when (error is IOException or InvalidOperationException && (record.Dead || SnapshotOf(record) != snapshot))
            {
                // Removed or finalized while it was measured; what is gone takes no space.
                return 0;
            }
        }

        if (!record.Blob.IsEmpty)
        {
            foreach (var digest in await _links.ClosureAsync([record.Blob], cancellationToken))
                size += (await _content.GetInfoAsync(digest, cancellationToken))?.Size ?? 0;
        }

        lock (_gate)
        {
            record.Size = size;
            if (!record.Dead)
                Table.UpdateLater(record);
        }

        return size;
    }
}
