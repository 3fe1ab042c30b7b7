using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers.Tar;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

// Fetching and unpacking what is lazy (spec 06 §1.4).
public sealed partial class RefStore
{
    private readonly SingleFlight<string, bool> _unlazying = new();
    private readonly SingleFlight<Digest, bool> _fetching = new();

    /// <inheritdoc/>
    public async Task PullAsync(IImmutableRef reference, CancellationToken cancellationToken)
    {
        await using var held = Borrow(reference, RefOptions.Default);
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await AllOrFirstFailureAsync(
            [
                FetchAllAsync(held.Record.LayerWalk(), held.Options, static _ => ValueTask.FromResult(true), failing.Token),
                UnlazyAsync(held.Record, held.Options, topLevel: true, failing.Token, isFetching: true),
            ], failing);
    }

    /// <summary>Makes sure the snapshot of a record is there.</summary>
    /// <param name="record">The record.</param>
    /// <param name="options">How its layers are had.</param>
    /// <param name="topLevel">Whether it is what was asked for.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="isFetching">Whether the caller is fetching the blobs of the record and of all below it.</param>
    internal Task UnlazyAsync(CacheRecord record, RefOptions options, bool topLevel, CancellationToken cancellationToken, bool isFetching = false)
    {
        lock (_gate)
        {
            if (record.EqualMutable is not null || (!record.BlobOnly && record.Kind is RecordKind.BaseLayer or RecordKind.Layer))
                return Task.CompletedTask;
        }

        return _unlazying.RunAsync(record.Id, cancel => UnlazyOnceAsync(record, options, topLevel, isFetching, cancel), cancellationToken, means: options.Handlers);
    }

    /// <summary>Makes sure the blob of a record is in the content store.</summary>
    internal async Task FetchBlobAsync(CacheRecord record, RefOptions options, CancellationToken cancellationToken)
    {
        if (_content.Contains(record.Blob))
            return;
        if (!options.Handlers.TryGetValue(record.Blob, out var handler))
            throw new MissingDescriptorHandlersException([record.Blob]);
        await OrLostAsync(
            record.Blob, options, () => _fetching.RunAsync(record.Blob, cancel => FetchOnceAsync(record, handler, cancel), cancellationToken, means: handler.Provider),
            static _ => true, cancellationToken);
    }

    private async Task<bool> UnlazyOnceAsync(CacheRecord record, RefOptions options, bool topLevel, bool isFetching, CancellationToken cancellationToken)
    {
        // Who asked may give up before this ends.
        await using var kept = Hold(record, RefOptions.Default, countsUse: false);
        await _naming.WaitAsync(cancellationToken);
        try
        {
            if (await _snapshotter.StatAsync(record.SnapshotId, cancellationToken) is not null)
            {
                MarkUnpacked(record);
                return true;
            }
        }
        finally
        {
            _naming.Release();
        }

        if (record.Kind is RecordKind.Merge or RecordKind.Diff)
            await CombineAsync(record, options, topLevel, cancellationToken);
        else
            await UnpackAsync(record, options, isFetching, cancellationToken);
        MarkUnpacked(record);
        return true;
    }

    private void MarkUnpacked(CacheRecord record) => Change(record, static r =>
    {
        if (r.BlobOnly)
            r.Size = -1;
        r.BlobOnly = false;
    });

    private async Task UnpackAsync(CacheRecord record, RefOptions options, bool isFetching, CancellationToken cancellationToken)
    {
        using (var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            // The lowest blobs come first: a layer is unpacked while those above it are on their way.
            var fetching = isFetching ? Task.CompletedTask : FetchAllAsync(record.LayerWalk(), options, IsLazyAsync, failing.Token);
            var parent = record.Parent is null ? Task.CompletedTask : UnlazyAsync(record.Parent, options, topLevel: false, failing.Token, isFetching: true);
            await AllOrFirstFailureAsync([fetching, parent], failing);
        }

        await FetchBlobAsync(record, options, cancellationToken);

        var status = $"extracting {record.Blob}";
        options.Progress?.Invoke(status, 0, 0, false);
        var key = $"extract-{Identifiers.New()} {record.Chain.ChainId}";
        var mounts = await _snapshotter.PrepareAsync(key, record.Parent?.SnapshotId, null, cancellationToken);
        try
        {
            await OrLostAsync(
                record.Blob, options, () => ApplyAsync(record, mounts, cancellationToken),
                static e => e is BlobVerificationException or TarFormatException or InvalidDataException, cancellationToken);
            await _naming.WaitAsync(cancellationToken);
            try
            {
                await _snapshotter.CommitAsync(record.SnapshotId, key, null, cancellationToken);
            }
            finally
            {
                _naming.Release();
            }
        }
        catch (SnapshotExistsException)
        {
            // Another record with the same tree was faster.
            await _snapshotter.RemoveAsync(key, CancellationToken.None);
        }
        catch
        {
            await _snapshotter.RemoveAsync(key, CancellationToken.None);
            throw;
        }

        if (record.Description.Length == 0 && options.Handlers.TryGetValue(record.Blob, out var handler) && handler.Ref.Length > 0)
            Change(record, r => r.Description = "pulled from " + handler.Ref);
        options.Progress?.Invoke(status, 0, 0, true);
    }

    private async ValueTask<bool> IsLazyAsync(CacheRecord layer) =>
        layer.BlobOnly && await _snapshotter.StatAsync(layer.SnapshotId, CancellationToken.None) is null;

    private Task FetchAllAsync(IEnumerable<CacheRecord> layers, RefOptions options, Func<CacheRecord, ValueTask<bool>> wanted, CancellationToken cancellationToken) =>
        Parallel.ForEachAsync(
            layers.Where(static layer => !layer.Blob.IsEmpty),
            new ParallelOptions { MaxDegreeOfParallelism = _options.ParallelDownloads, CancellationToken = cancellationToken },
            async (layer, stop) =>
            {
                if (await wanted(layer))
                    await FetchBlobAsync(layer, options, stop);
            });

    private async Task ApplyAsync(CacheRecord record, IReadOnlyList<MountSpec> mounts, CancellationToken cancellationToken)
    {
        Digest diffId;
        await using (var blob = await _content.OpenAsync(record.Blob, cancellationToken))
            diffId = await _layers.ApplyAsync(blob, record.MediaType, mounts, cancellationToken);
        if (diffId != record.DiffId)
            throw new BlobVerificationException($"layer {record.Blob}: unpacked to diff id {diffId}, expected {record.DiffId}: failed precondition");
    }

    private async Task CombineAsync(CacheRecord record, RefOptions options, bool topLevel, CancellationToken cancellationToken)
    {
        var layers = record.LayerWalk();
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await AllOrFirstFailureAsync(
            layers.SelectMany(layer => layer.IsDiff ? layer.Parents : [layer])
                .Distinct()
                .Select(input => UnlazyAsync(input, options, topLevel: false, failing.Token))
                .ToList(),
            failing);

        var action = record.IsDiff ? "diffing" : "merging";
        var status = topLevel ? action : record.Description.Length > 0 ? record.Description : $"{action} {record.Id}";
        options.Progress?.Invoke(status, 0, 0, false);
        var changes = layers.ConvertAll(layer => layer.IsDiff
            ? new SnapshotPair(layer.LowerDiffParent?.SnapshotId, layer.UpperDiffParent?.SnapshotId)
            : new SnapshotPair(layer.Parent?.SnapshotId, layer.SnapshotId));
        await _layers.MergeAsync(_snapshotter, record.SnapshotId, changes, cancellationToken);
        options.Progress?.Invoke(status, 0, 0, true);
    }

    private async Task<bool> FetchOnceAsync(CacheRecord record, DescriptorHandler handler, CancellationToken cancellationToken)
    {
        await _downloads.WaitAsync(cancellationToken);
        try
        {
            var descriptor = new Descriptor(record.MediaType, record.Blob, record.BlobSize) { Urls = record.Urls };
            var status = record.Blob.ToString();
            handler.Progress?.Invoke(status, 0, record.BlobSize, false);
            await _content.FetchAsync(
                handler.Provider, descriptor, "layer-" + record.Blob, _links.LabelsOf(descriptor with { Annotations = handler.Annotations }, record.DiffId),
                written => handler.Progress?.Invoke(status, written, record.BlobSize, false), cancellationToken);
            await AddSourcesAsync(record, cancellationToken);
            handler.Progress?.Invoke(status, record.BlobSize, record.BlobSize, true);
        }
        finally
        {
            _downloads.Release();
        }

        Change(record, static r => r.Size = -1);
        return true;
    }

    // The first failure stops the others and is the one reported, not the cancellations that follow from it.
    private static async Task AllOrFirstFailureAsync(IReadOnlyList<Task> tasks, CancellationTokenSource failing)
    {
        Task? failed = null;
        var open = tasks.ToList();
        while (open.Count > 0)
        {
            var done = await Task.WhenAny(open);
            open.Remove(done);
            if (!done.IsCompletedSuccessfully && failed is null)
            {
                failed = done;
                await failing.CancelAsync();
            }
        }

        if (failed is not null)
            await failed;
    }
}
