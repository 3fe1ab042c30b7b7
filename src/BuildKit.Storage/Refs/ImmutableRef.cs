using BuildKit.Oci;
using BuildKit.Storage.Layers;

namespace BuildKit.Storage.Refs;

/// <summary>A handle on an immutable record.</summary>
internal sealed class ImmutableRef(RefStore store, CacheRecord record, RefOptions options, bool countsUse) : IImmutableRef
{
    private int _disposed;

    public RefStore Store => store;

    public CacheRecord Record => record;

    /// <summary>Handlers and progress that travel with the handle.</summary>
    public RefOptions Options => options;

    /// <inheritdoc/>
    public string Id => record.Id;

    /// <inheritdoc/>
    public IRefMetadata Metadata { get; } = new RecordMetadata(store, record);

    /// <inheritdoc/>
    public IImmutableRef Clone()
    {
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return store.Hold(record, options, countsUse: false);
    }

    /// <inheritdoc/>
    public async Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken)
    {
        if (!readOnly)
            await FinalizeAsync(cancellationToken);
        await ExtractAsync(cancellationToken);
        return new Mountable(store, record, readOnly: true);
    }

    /// <inheritdoc/>
    public Task ExtractAsync(CancellationToken cancellationToken) => store.UnlazyAsync(record, options, topLevel: true, cancellationToken);

    /// <inheritdoc/>
    public Task FinalizeAsync(CancellationToken cancellationToken) => store.FinalizeAsync(record, cancellationToken);

    /// <inheritdoc/>
    public IReadOnlyList<IImmutableRef> LayerChain() => record.LayerWalk().ConvertAll(layer => (IImmutableRef)store.Hold(layer, options, countsUse: false));

    /// <inheritdoc/>
    public Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken) =>
        store.GetRemotesAsync(this, createIfNeeded, compression, all, cancellationToken);

    /// <inheritdoc/>
    public ValueTask DisposeAsync() =>
        Interlocked.Exchange(ref _disposed, 1) == 0 ? store.ReleaseAsync(record, countsUse) : ValueTask.CompletedTask;
}

/// <summary>The handle on a writable record.</summary>
internal sealed class MutableRef(RefStore store, CacheRecord record, RefOptions options, bool countsUse) : IMutableRef
{
    private int _used;

    /// <inheritdoc/>
    public string Id => record.Id;

    /// <inheritdoc/>
    public IRefMetadata Metadata { get; } = new RecordMetadata(store, record);

    /// <inheritdoc/>
    public Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken) =>
        Task.FromResult<IMountable>(new Mountable(store, record, readOnly));

    /// <inheritdoc/>
    public Task<IImmutableRef> CommitAsync(CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(Interlocked.Exchange(ref _used, 1) != 0, this);
        return Task.FromResult<IImmutableRef>(store.Commit(record, options));
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() =>
        Interlocked.Exchange(ref _used, 1) == 0 ? store.ReleaseMutableAsync(record, countsUse) : ValueTask.CompletedTask;
}

/// <summary>A record's tree, mounted on demand; the record is kept while a lease is out.</summary>
internal sealed class Mountable(RefStore store, CacheRecord record, bool readOnly) : IMountable
{
    /// <inheritdoc/>
    public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) => store.AcquireMountsAsync(record, readOnly, cancellationToken);
}
