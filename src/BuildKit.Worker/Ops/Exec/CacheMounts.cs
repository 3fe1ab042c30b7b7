using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Ops.Exec;

/// <summary>How steps share a cache mount.</summary>
public enum CacheSharing
{
    /// <summary>All at once.</summary>
    Shared,

    /// <summary>Each its own.</summary>
    Private,

    /// <summary>One after the other.</summary>
    Locked,
}

/// <summary>
/// The directories behind <c>RUN --mount=type=cache</c>: writable records that outlive builds, found again by
/// cache id and base (spec 06 §7). One object for the whole daemon, since shared mounts are shared by all builds.
/// </summary>
public sealed class CacheMounts(IRefStore refs, TimeProvider time)
{
    /// <summary>Record type of cache mounts.</summary>
    public const string RecordType = "exec.cachemount";

    private const string IndexPrefix = "cache-dir:";
    private const string IndexKey = "cache-dir";
    private static readonly TimeSpan LockPoll = TimeSpan.FromMilliseconds(100);
    private readonly SemaphoreSlim _lock = new(1, 1);
    private readonly Dictionary<string, SharedMount> _shared = new(StringComparer.Ordinal);
    private readonly Lock _offersLock = new();
    private readonly List<SeedOffer> _offers = [];

    /// <summary>
    /// The directory for a cache id on a base. Dispose the handle when the step has ended; the content stays.
    /// </summary>
    public async Task<ICacheMountHandle> AcquireAsync(
        string cacheId, IImmutableRef? parent, CacheSharing sharing, string description, CancellationToken cancellationToken)
    {
        var key = parent is null ? cacheId : cacheId + ":" + parent.Id;
        await using var seed = parent is null ? await SeedAsync(cacheId, cancellationToken) : null;
        parent ??= seed;
        if (sharing == CacheSharing.Shared)
            return await AcquireSharedAsync(key, parent, description, cancellationToken);
        while (true)
        {
            await _lock.WaitAsync(cancellationToken);
            try
            {
                var (found, anyLocked) = await FindUnlockedAsync(key, cancellationToken);
                if (found is null && !(sharing == CacheSharing.Locked && anyLocked))
                    found = await CreateAsync(key, parent, description, cancellationToken);
                if (found is not null)
                    return new OwnMount(found);
            }
            finally
            {
                _lock.Release();
            }
            await Task.Delay(LockPoll, time, cancellationToken);
        }
    }

    /// <summary>Takes part in an existing directory without a base, as a sharing step would; null when there is none or a step has
    /// it for itself.</summary>
    public async Task<ICacheMountHandle?> TryShareAsync(string cacheId, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken);
        try
        {
            if (!_shared.TryGetValue(cacheId, out var shared))
            {
                var (found, _) = await FindUnlockedAsync(cacheId, cancellationToken);
                if (found is null)
                    return null;
                shared = new SharedMount(cacheId, found);
                _shared.Add(cacheId, shared);
            }
            shared.Users++;
            return new SharedHandle(this, shared);
        }
        finally
        {
            _lock.Release();
        }
    }

    /// <summary>Offers first contents for directories without a base that do not exist yet, until disposed.</summary>
    /// <param name="seed">Makes the record to start from, owned by the caller, or null when it has none; by cache id.</param>
    public IDisposable OfferSeeds(Func<string, CancellationToken, Task<IImmutableRef?>> seed)
    {
        var offer = new SeedOffer(this, seed);
        lock (_offersLock)
            _offers.Add(offer);
        return offer;
    }

    /// <summary>Detaches every directory of some cache ids, so that the next step starts with an empty one.
    /// A directory in use goes when its users are done.</summary>
    /// <param name="ids">Cache ids with whether the mount has a base of its own.</param>
    /// <param name="cancellationToken">Ends the wait for the registry of mounts.</param>
    public async Task ForgetAsync(IReadOnlyCollection<(string Id, bool Nested)> ids, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken);
        try
        {
            foreach (var (id, nested) in ids)
                await ForgetOneAsync(id, nested, cancellationToken);
        }
        finally
        {
            _lock.Release();
        }
    }

    private async Task<IImmutableRef?> SeedAsync(string cacheId, CancellationToken cancellationToken)
    {
        List<SeedOffer> offers;
        lock (_offersLock)
            offers = [.. _offers];
        if (offers.Count == 0)
            return null;
        await _lock.WaitAsync(cancellationToken);
        try
        {
            if (_shared.ContainsKey(cacheId))
                return null;
            foreach (var id in await refs.SearchAsync(IndexPrefix + cacheId, cancellationToken))
            {
                if (refs.GetMetadata(id)?.Get(IndexKey) == cacheId)
                    return null;
            }
        }
        finally
        {
            _lock.Release();
        }
        // Not under the lock: it may be a long download.
        foreach (var offer in offers)
        {
            if (await offer.MakeAsync(cacheId, cancellationToken) is { } seed)
                return seed;
        }
        return null;
    }

    private async Task ForgetOneAsync(string id, bool nested, CancellationToken cancellationToken)
    {
        foreach (var key in _shared.Keys.Where(key => key == id || (nested && key.StartsWith(id + ":", StringComparison.Ordinal))).ToList())
            _shared.Remove(key);
        // A nested mount's key ends in the id of its base, which is not known here: those are found by prefix.
        foreach (var recordId in await refs.SearchAsync(IndexPrefix + id + (nested ? ":" : ""), cancellationToken))
        {
            if (refs.GetMetadata(recordId) is not { } metadata)
                continue;
            metadata.Set(IndexKey, null);
            metadata.Retain = false;
            try
            {
                await using var unused = await refs.GetMutableAsync(recordId, RefOptions.Default, cancellationToken);
            }
            catch (RefLockedException)
            {
                // In use: it goes with its last handle, now that it is not retained.
            }
            catch (RefNotFoundException)
            {
                // Pruned meanwhile.
            }
        }
    }

    private async Task<ICacheMountHandle> AcquireSharedAsync(string key, IImmutableRef? parent, string description, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken);
        try
        {
            if (!_shared.TryGetValue(key, out var shared))
            {
                var (found, _) = await FindUnlockedAsync(key, cancellationToken);
                shared = new SharedMount(key, found ?? await CreateAsync(key, parent, description, cancellationToken));
                _shared.Add(key, shared);
            }
            shared.Users++;
            return new SharedHandle(this, shared);
        }
        finally
        {
            _lock.Release();
        }
    }

    private async Task<(IMutableRef? Found, bool AnyLocked)> FindUnlockedAsync(string key, CancellationToken cancellationToken)
    {
        var anyLocked = false;
        foreach (var id in await refs.SearchAsync(IndexPrefix + key, cancellationToken))
        {
            if (refs.GetMetadata(id)?.Get(IndexKey) != key)
                continue;
            try
            {
                return (await refs.GetMutableAsync(id, RefOptions.Default, cancellationToken), anyLocked);
            }
            catch (RefLockedException)
            {
                anyLocked = true;
            }
            catch (RefNotFoundException)
            {
                // Pruned between the search and now.
            }
        }
        return (null, anyLocked);
    }

    private async Task<IMutableRef> CreateAsync(string key, IImmutableRef? parent, string description, CancellationToken cancellationToken)
    {
        var created = await refs.NewAsync(
            parent, new RefOptions { Description = description, RecordType = RecordType, Retain = true }, cancellationToken);
        created.Metadata.Set(IndexKey, key, IndexPrefix + key);
        return created;
    }

    private async ValueTask ReleaseAsync(SharedMount shared)
    {
        await _lock.WaitAsync();
        try
        {
            if (--shared.Users > 0)
                return;
            if (_shared.TryGetValue(shared.Key, out var current) && ReferenceEquals(current, shared))
                _shared.Remove(shared.Key);
            await shared.Ref.DisposeAsync();
        }
        finally
        {
            _lock.Release();
        }
    }

    private sealed class SeedOffer(CacheMounts owner, Func<string, CancellationToken, Task<IImmutableRef?>> make) : IDisposable
    {
        public Task<IImmutableRef?> MakeAsync(string cacheId, CancellationToken cancellationToken) => make(cacheId, cancellationToken);

        public void Dispose()
        {
            lock (owner._offersLock)
                owner._offers.Remove(this);
        }
    }

    private sealed class SharedMount(string key, IMutableRef reference)
    {
        public string Key { get; } = key;

        public IMutableRef Ref { get; } = reference;

        public int Users { get; set; }
    }

    private sealed class SharedHandle(CacheMounts owner, SharedMount shared) : ICacheMountHandle
    {
        private int _released;

        public IMutableRef Ref => shared.Ref;

        public ValueTask DisposeAsync() =>
            Interlocked.Exchange(ref _released, 1) == 0 ? owner.ReleaseAsync(shared) : ValueTask.CompletedTask;
    }

    private sealed class OwnMount(IMutableRef reference) : ICacheMountHandle
    {
        public IMutableRef Ref => reference;

        public ValueTask DisposeAsync() => reference.DisposeAsync();
    }
}

/// <summary>A cache mount in use by one step.</summary>
public interface ICacheMountHandle : IAsyncDisposable
{
    /// <summary>The record; borrowed.</summary>
    IMutableRef Ref { get; }
}
