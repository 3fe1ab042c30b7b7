using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

/// <summary>
/// Records in memory, written through to the database; trees in the snapshotter, blobs in the content store.
/// <list type="number">
/// <item>The graph of records and their counters change under one lock that is never held while bytes move.</item>
/// <item>What takes long (unpack, diff, finalize) runs once per record, whoever asks.</item>
/// <item>A record's row is written after what it describes is there, and deleted before that goes.</item>
/// </list>
/// </summary>
public sealed partial class RefStore : IRefStore
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, CacheRecord> _records = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _snapshotUsers = new(StringComparer.Ordinal);
    private readonly Dictionary<Digest, HashSet<CacheRecord>> _byChain = [];
    private readonly Dictionary<Digest, HashSet<CacheRecord>> _byBlobChain = [];

    private readonly string _root;
    private readonly ISnapshotter _snapshotter;
    private readonly FileContentStore _content;
    private readonly BlobLeases _leases;
    private readonly BlobLinks _links;
    private readonly ILayerTools _layers;
    private readonly SharedMounts _mounts;
    private readonly TimeProvider _time;
    private readonly RefStoreOptions _options;
    private readonly SemaphoreSlim _downloads;
    private readonly SemaphoreSlim _compressions;

    internal RefStore(
        string root, ISnapshotter snapshotter, FileContentStore content, BlobLeases leases, RecordTable table, ILayerTools layers,
        TimeProvider time, RefStoreOptions options)
    {
        _root = root;
        _snapshotter = snapshotter;
        _content = content;
        _leases = leases;
        _links = new BlobLinks(content);
        Table = table;
        _layers = layers;
        _mounts = new SharedMounts(Path.Combine(root, "cachemounts"));
        _time = time;
        _options = options;
        _downloads = new SemaphoreSlim(options.ParallelDownloads);
        _compressions = new SemaphoreSlim(options.ParallelCompressions);
    }

    /// <summary>A record is gone, with everything it described: keys that lead to it are worth nothing any more.</summary>
    public event Action<string>? RecordRemoved;

    /// <inheritdoc/>
    public IContentStore Content => _content;

    internal RecordTable Table { get; }

    /// <inheritdoc/>
    public async Task<IImmutableRef> GetAsync(string id, RefOptions options, CancellationToken cancellationToken)
    {
        ImmutableRef? found = null;
        MutableRef? writable = null;
        lock (_gate)
        {
            var record = Require(id);
            if (record.Committed)
            {
                found = HoldUsable(record, options);
            }
            else if (record.EqualImmutable is { } twin)
            {
                found = HoldUsable(twin, options);
            }
            else
            {
                if (record.Holds > 0)
                    throw new RefLockedException(id);
                record.Holds++;
                writable = new MutableRef(this, record, options, countsUse: false);
            }
        }

        return found ?? await writable!.CommitAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<IMutableRef> NewAsync(IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken)
    {
        await using var held = parent is null ? null : Borrow(parent, options);
        if (held is not null)
        {
            await held.FinalizeAsync(cancellationToken);
            await held.ExtractAsync(cancellationToken);
        }

        var id = Identifiers.New();
        await _snapshotter.PrepareAsync(id, held?.Record.SnapshotId, null, cancellationToken);
        var record = new CacheRecord { Id = id, SnapshotId = id, Parent = held?.Record };
        Initialize(record, options);
        try
        {
            lock (_gate)
            {
                record.Holds = 1;
                record.Uses = options.NoUpdateLastUsed ? 0 : 1;
                Register(record);
                return new MutableRef(this, record, Inherit(options, held), !options.NoUpdateLastUsed);
            }
        }
        catch
        {
            await _snapshotter.RemoveAsync(id, CancellationToken.None);
            throw;
        }
    }

    /// <inheritdoc/>
    public Task<IMutableRef> GetMutableAsync(string id, RefOptions options, CancellationToken cancellationToken)
    {
        CacheRecord? twin;
        IMutableRef result;
        lock (_gate)
        {
            var record = Require(id);
            if (record.Committed)
                throw new InvalidOperationException($"{id} is not mutable: invalid");
            twin = record.EqualImmutable;
            if (record.Holds > 0 || twin is { IsFree: false })
                throw new RefLockedException(id);
            record.Holds++;
            record.Uses += options.NoUpdateLastUsed ? 0 : 1;
            if (twin is not null)
            {
                record.EqualImmutable = null;
                Unregister(twin);
            }

            result = new MutableRef(this, record, options, !options.NoUpdateLastUsed);
        }

        if (twin is not null)
            RecordRemoved?.Invoke(twin.Id);
        return Task.FromResult(result);
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<string>> SearchAsync(string index, CancellationToken cancellationToken)
    {
        var ids = Table.Search(index);
        lock (_gate)
            return Task.FromResult<IReadOnlyList<string>>(ids.Where(_records.ContainsKey).ToList());
    }

    /// <inheritdoc/>
    public IRefMetadata? GetMetadata(string id)
    {
        lock (_gate)
            return _records.TryGetValue(id, out var record) ? new RecordMetadata(this, record) : null;
    }

    /// <inheritdoc/>
    public bool Exists(string id)
    {
        lock (_gate)
            return _records.TryGetValue(id, out var record) && !record.Dead;
    }

    /// <summary>Changes a record and writes it through.</summary>
    internal void Change(CacheRecord record, Action<CacheRecord> change)
    {
        lock (_gate)
        {
            change(record);
            if (!record.Dead)
                Table.Update(record);
        }
    }

    /// <summary>Another handle on the record of a held one.</summary>
    internal ImmutableRef Hold(CacheRecord record, RefOptions options, bool countsUse)
    {
        lock (_gate)
        {
            record.Holds++;
            if (countsUse)
                record.Uses++;
            return new ImmutableRef(this, record, options, countsUse);
        }
    }

    private CacheRecord Require(string id) =>
        _records.TryGetValue(id, out var record) && !record.Dead ? record : throw new RefNotFoundException(id);

    // Needs the lock.
    private ImmutableRef HoldUsable(CacheRecord record, RefOptions options)
    {
        if (MissingHandlers(record, options.Handlers) is { Count: > 0 } missing)
            throw new MissingDescriptorHandlersException(missing);
        return Hold(record, options, !options.NoUpdateLastUsed);
    }

    private ImmutableRef Borrow(IImmutableRef reference, RefOptions options)
    {
        if (reference is ImmutableRef { Store: var store } own && ReferenceEquals(store, this))
            return Hold(own.Record, own.Options, countsUse: false);
        lock (_gate)
            return HoldUsable(Require(reference.Id), options with { NoUpdateLastUsed = true });
    }

    private static RefOptions Inherit(RefOptions options, params IReadOnlyList<ImmutableRef?> from)
    {
        var handlers = new Dictionary<Digest, DescriptorHandler>();
        foreach (var source in from)
        {
            foreach (var (digest, handler) in source?.Options.Handlers ?? RefOptions.Default.Handlers)
                handlers[digest] = handler;
        }

        foreach (var (digest, handler) in options.Handlers)
            handlers[digest] = handler;
        return options with { Handlers = handlers };
    }

    private void Initialize(CacheRecord record, RefOptions options)
    {
        record.Description = options.Description ?? "";
        record.RecordType = options.RecordType ?? "";
        record.Retain = options.Retain;
        record.CreatedAt = options.CreatedAt ?? _time.GetUtcNow();
    }

    // Needs the lock.
    private void Register(CacheRecord record)
    {
        Table.Insert(record);
        Index(record);
    }

    private void Index(CacheRecord record)
    {
        _records.Add(record.Id, record);
        foreach (var parent in record.Parents)
            parent.Children++;
        _snapshotUsers[record.SnapshotId] = _snapshotUsers.GetValueOrDefault(record.SnapshotId) + 1;
        IndexChain(record);
    }

    private void IndexChain(CacheRecord record)
    {
        if (record.Chain.IsEmpty)
            return;
        Add(_byChain, record.Chain.ChainId);
        Add(_byBlobChain, record.Chain.BlobChainId);

        void Add(Dictionary<Digest, HashSet<CacheRecord>> index, Digest key)
        {
            if (!index.TryGetValue(key, out var records))
                index.Add(key, records = []);
            records.Add(record);
        }
    }

    // Needs the lock; takes the record out of memory and out of the database.
    private void Unregister(params IReadOnlyList<CacheRecord> records)
    {
        Table.Delete([.. records.Select(static r => r.Id)]);
        foreach (var record in records)
            Forget(record);
    }

    private void Forget(CacheRecord record)
    {
        record.Dead = true;
        _records.Remove(record.Id);
        foreach (var parent in record.Parents)
            parent.Children--;
        if (--_snapshotUsers[record.SnapshotId] == 0)
            _snapshotUsers.Remove(record.SnapshotId);
        UnindexChain(record);
    }

    private void UnindexChain(CacheRecord record)
    {
        Remove(_byChain, record.Chain.ChainId);
        Remove(_byBlobChain, record.Chain.BlobChainId);

        void Remove(Dictionary<Digest, HashSet<CacheRecord>> index, Digest key)
        {
            if (index.TryGetValue(key, out var records) && records.Remove(record) && records.Count == 0)
                index.Remove(key);
        }
    }
}
