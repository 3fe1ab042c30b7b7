using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage.Refs;

/// <summary>
/// Records and handles on them (spec 06 §1): the one door to snapshots and layers. Concurrent calls are
/// safe; every returned ref is owned by the caller and disposed exactly once.
/// </summary>
public interface IRefStore
{
    /// <summary>A handle on a stored immutable record. Errors: <see cref="RefNotFoundException"/>,
    /// <see cref="MissingDescriptorHandlersException"/> when it is lazy and no handler was given.</summary>
    Task<IImmutableRef> GetAsync(string id, RefOptions options, CancellationToken cancellationToken);

    /// <summary>A new writable record on a parent (or on nothing).</summary>
    Task<IMutableRef> NewAsync(IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken);

    /// <summary>The one handle on a stored writable record. Errors: <see cref="RefNotFoundException"/>,
    /// <see cref="RefLockedException"/> (<c>X is locked: locked</c>), <see cref="InvalidOperationException"/>
    /// (<c>X is not mutable: invalid</c>).</summary>
    Task<IMutableRef> GetMutableAsync(string id, RefOptions options, CancellationToken cancellationToken);

    /// <summary>The record of a layer blob on a parent, made (lazily) when there is none.</summary>
    Task<IImmutableRef> GetByBlobAsync(Descriptor descriptor, IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken);

    /// <summary>Fetches the blobs of all layers of a record, whether they are needed or not, and unpacks what is not unpacked:
    /// for layers that cannot be had later.</summary>
    Task PullAsync(IImmutableRef reference, CancellationToken cancellationToken);

    /// <summary>The merge of inputs; null for none, the input itself for one.</summary>
    Task<IImmutableRef?> MergeAsync(IReadOnlyList<IImmutableRef?> inputs, RefOptions options, CancellationToken cancellationToken);

    /// <summary>What upper adds to lower.</summary>
    Task<IImmutableRef?> DiffAsync(IImmutableRef? lower, IImmutableRef? upper, RefOptions options, CancellationToken cancellationToken);

    /// <summary>Ids of records whose metadata value is stored under an index, for example <c>local.sharedKey:…</c>.</summary>
    Task<IReadOnlyList<string>> SearchAsync(string index, CancellationToken cancellationToken);

    /// <summary>Metadata of a record that need not be held; null when there is none.</summary>
    IRefMetadata? GetMetadata(string id);

    /// <summary>Whether a record exists and is usable.</summary>
    bool Exists(string id);

    /// <summary>Whether a record, or one it lies on, has a layer that turned out to be lost (<see cref="LayerLostException"/>).
    /// Quick: nothing is fetched.</summary>
    bool HasLostLayers(string id);

    /// <summary>Usage records, filtered with containerd's filter syntax (spec 06 §5.4).</summary>
    Task<IReadOnlyList<UsageRecord>> DiskUsageAsync(IReadOnlyList<string> filters, CancellationToken cancellationToken);

    /// <summary>Deletes what each policy in turn selects and nothing uses (spec 06 §5), reporting each record.</summary>
    Task PruneAsync(IReadOnlyList<PruneOptions> policies, Action<UsageRecord> onPruned, CancellationToken cancellationToken);

    /// <summary>The content store behind the layers.</summary>
    IContentStore Content { get; }
}

/// <summary>A handle on a record.</summary>
public interface IRef : IAsyncDisposable
{
    /// <summary>25 base-36 characters.</summary>
    string Id { get; }

    /// <summary>Stored metadata of the record.</summary>
    IRefMetadata Metadata { get; }

    /// <summary>How to mount the record's tree; lazy layers are fetched first. The mountable holds no mount itself.</summary>
    Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken);
}

/// <summary>A record that never changes.</summary>
public interface IImmutableRef : IRef
{
    /// <summary>Another owned handle on the same record.</summary>
    IImmutableRef Clone();

    /// <summary>Fetches and unpacks whatever is still lazy, parents included.</summary>
    Task ExtractAsync(CancellationToken cancellationToken);

    /// <summary>Commits the snapshot of a freshly committed record (needed before it gets children).</summary>
    Task FinalizeAsync(CancellationToken cancellationToken);

    /// <summary>The records whose blobs make up this one, base first (spec 06 §1.3 "layer walk"); owned by the caller.</summary>
    IReadOnlyList<IImmutableRef> LayerChain();

    /// <summary>The layers of the record as blobs. With <paramref name="createIfNeeded"/> missing blobs are computed,
    /// else an empty list is returned when one is missing; with <paramref name="all"/> every stored compression variant
    /// is listed, best match first.</summary>
    Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken);
}

/// <summary>A record being written; there is at most one handle.</summary>
public interface IMutableRef : IRef
{
    /// <summary>Turns the record into an immutable one; this handle is then used up.</summary>
    Task<IImmutableRef> CommitAsync(CancellationToken cancellationToken);
}

/// <summary>Something that can be mounted, many times.</summary>
public interface IMountable
{
    /// <summary>The mounts to do, valid until the lease is disposed.</summary>
    Task<MountLease> AcquireAsync(CancellationToken cancellationToken);
}

/// <summary>Mounts that stay valid until disposed.</summary>
public sealed class MountLease(IReadOnlyList<MountSpec> mounts, Func<ValueTask> release) : IAsyncDisposable
{
    /// <summary>The mounts, in order.</summary>
    public IReadOnlyList<MountSpec> Mounts { get; } = mounts;

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => release();
}

/// <summary>Stored key/value metadata of a record. Setters are durable when they return.</summary>
public interface IRefMetadata
{
    /// <summary>The record's id.</summary>
    string Id { get; }

    /// <summary>What people see in <c>du</c>.</summary>
    string Description { get; set; }

    /// <summary><c>regular</c>, <c>internal</c>, <c>frontend</c>, <c>source.local</c>, <c>source.git.checkout</c>, <c>exec.cachemount</c>.</summary>
    string RecordType { get; set; }

    /// <summary>When the record was made.</summary>
    DateTimeOffset CreatedAt { get; set; }

    /// <summary>Kept after its last handle is gone.</summary>
    bool Retain { get; set; }

    /// <summary>Free value by key, or null.</summary>
    string? Get(string key);

    /// <summary>Stores (null removes) a value, findable by <see cref="IRefStore.SearchAsync"/> when an index is given.</summary>
    void Set(string key, string? value, string? index = null);

    /// <summary>Opaque bytes by key (content checksums), or null.</summary>
    byte[]? GetBlob(string key);

    /// <summary>Stores opaque bytes.</summary>
    void SetBlob(string key, ReadOnlySpan<byte> value);
}

/// <summary>How a ref is opened or made.</summary>
public sealed record RefOptions
{
    /// <summary>No special wishes.</summary>
    public static RefOptions Default { get; } = new();

    /// <summary>Providers of lazy blobs, by digest.</summary>
    public IReadOnlyDictionary<Digest, DescriptorHandler> Handlers { get; init; } = new Dictionary<Digest, DescriptorHandler>();

    /// <summary>Initial description.</summary>
    public string? Description { get; init; }

    /// <summary>Initial record type.</summary>
    public string? RecordType { get; init; }

    /// <summary>Initial creation time.</summary>
    public DateTimeOffset? CreatedAt { get; init; }

    /// <summary>Keep after the last handle is gone.</summary>
    public bool Retain { get; init; }

    /// <summary>Image the blob came from.</summary>
    public string? ImageRef { get; init; }

    /// <summary>Do not count this handle as a use.</summary>
    public bool NoUpdateLastUsed { get; init; }

    /// <summary>Where unpacking and fetching report: (status id, current, total, done).</summary>
    public Action<string, long, long, bool>? Progress { get; init; }
}

/// <summary>Where a lazy blob can be fetched from.</summary>
public sealed record DescriptorHandler
{
    /// <summary>The provider.</summary>
    public required IBlobProvider Provider { get; init; }

    /// <summary>Annotations to put on exported descriptors.</summary>
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Image reference, for descriptions and logs.</summary>
    public string Ref { get; init; } = "";

    /// <summary>Where the download reports: (status id, current, total, done).</summary>
    public Action<string, long, long, bool>? Progress { get; init; }

    /// <summary>The provider goes away with a client session: fetch at load time.</summary>
    public bool SessionBound { get; init; }

    /// <summary>Set for layers of a cache, which can be made anew: told when one cannot be fetched or unpacked. Whoever needed
    /// it gets a <see cref="LayerLostException"/>.</summary>
    public Action<Digest, Exception>? Lost { get; init; }
}

/// <summary>The layers of a result: descriptors base first and where their bytes are.</summary>
public sealed record RemoteLayers(IReadOnlyList<Descriptor> Descriptors, IBlobProvider Provider);

/// <summary>One line of <c>du</c> (spec 01 §1.1 UsageRecord). Sizes in bytes.</summary>
public sealed record UsageRecord(
    string Id, bool Mutable, bool InUse, long Size, DateTimeOffset CreatedAt, DateTimeOffset? LastUsedAt,
    long UsageCount, string Description, string RecordType, bool Shared, IReadOnlyList<string> Parents)
{
    /// <summary>The policy that deleted it; null when it was only listed.</summary>
    public PruneOptions? PrunedBy { get; init; }

    /// <summary>Ids that were deleted: the record's own and that of its twin over the same tree.</summary>
    public IReadOnlyList<string> RemovedIds { get; init; } = [];
}

/// <summary>One garbage collection policy. Zero means "no limit"; sizes in bytes.</summary>
public sealed record PruneOptions(
    IReadOnlyList<string> Filters, bool All, TimeSpan KeepDuration, long ReservedSpace, long MaxUsedSpace, long MinFreeSpace);

/// <summary>No such record.</summary>
public sealed class RefNotFoundException(string id) : Exception($"{id}: not found");

/// <summary>The writable record is in use.</summary>
public sealed class RefLockedException(string id) : Exception($"{id} is locked: locked");

/// <summary>A layer of an imported cache cannot be had although its record says so. The step that made it can be executed
/// instead.</summary>
public sealed class LayerLostException(Digest digest, Exception inner)
    : Exception($"layer {digest} of an imported cache cannot be used: {inner.Message}", inner)
{
    /// <summary>The layer's blob.</summary>
    public Digest Digest { get; } = digest;

    /// <summary>Whether an error came of a lost layer.</summary>
    public static bool IsCauseOf(Exception? error)
    {
        for (; error is not null; error = error.InnerException)
        {
            if (error is LayerLostException || (error is AggregateException several && several.InnerExceptions.Any(IsCauseOf)))
                return true;
        }
        return false;
    }
}

/// <summary>A lazy record cannot be used without providers for its blobs; retry with handlers for <see cref="Digests"/>.</summary>
public sealed class MissingDescriptorHandlersException(IReadOnlyList<Digest> digests)
    : Exception($"missing descriptor handlers for lazy blobs [{string.Join(" ", digests)}]")
{
    /// <summary>The blobs that need a handler.</summary>
    public IReadOnlyList<Digest> Digests { get; } = digests;
}
