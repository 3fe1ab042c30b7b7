using System.Collections.Concurrent;
using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>
/// Joins an export with the cache of a name in a bucket so that concurrent writers lose nothing.
/// <list type="number">
/// <item>The export is put as a part of its own, on a condition that a new object cannot meet. A store that knows conditions
/// refuses, and needs no parts: the object of the name itself is replaced on condition that it still is what was read.</item>
/// <item>A store that ignored the condition has the part now. All parts and the object of the name are joined into the object
/// of the name, which tells the parts it contains. Writers may overwrite each other there, but what one of them wrote lies in its
/// part, and what they left does not tell of it: importers take such parts too, and the next export joins them again.</item>
/// <item>Parts are removed an hour later, when they are contained in the object of the name: no writer can be left by then who
/// listed the parts before this one came, because joining is given up after <see cref="LongestJoin"/> and started again.</item>
/// </list>
/// </summary>
internal sealed class S3Merge(S3Config config, S3Client client, string name, TimeProvider time)
{
    private const string NoSuchState = "\"00000000000000000000000000000000\"";
    private const int MostReads = 8;
    private const int PartsAtOnce = 4;
    private static readonly TimeSpan PartAge = TimeSpan.FromHours(1);
    private static readonly TimeSpan LongestJoin = TimeSpan.FromMinutes(10);

    private readonly string _key = config.ManifestKey(name);
    private readonly string _partKey = $"{config.PartsPrefix(name)}{Guid.NewGuid():N}";

    // Read before the layers are sent; used once.
    private (bool IsRead, StoredConfig? Config) _first;

    /// <summary>Name of the cache.</summary>
    public string Name => name;

    /// <summary>Reads what the export will join, to know the layers it names.</summary>
    public async Task<MarshalledCache?> ReadAsync(CancellationToken cancellationToken)
    {
        _first = (true, await ReadWholeAsync(cancellationToken).ConfigureAwait(false));
        return _first.Config?.Cache;
    }

    /// <summary>Joins an export whose layers are in the bucket.</summary>
    public async Task JoinAsync(MarshalledCache cache, RecentBlobs recent, MergeOptions options, CancellationToken cancellationToken)
    {
        var part = AnnotatedCache.Annotate(cache).ToJson();
        if (await KnowsConditionsAsync(part, cancellationToken).ConfigureAwait(false))
        {
            await ReplaceAsync(async there =>
            {
                await recent.ReplacingAsync(there, cancellationToken).ConfigureAwait(false);
                return await CacheMerge.JoinAsync(cache, there is null ? [] : [there], options, time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
            }, cancellationToken).ConfigureAwait(false);
            return;
        }
        for (var isWritten = false; !isWritten;)
            isWritten = await JoinPartsAsync(cache, recent, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Replaces the object of the name on condition that it still is what was read.</summary>
    public Task ReplaceAsync(Func<MarshalledCache?, Task<MarshalledCache?>> change, CancellationToken cancellationToken) => AnnotatedCache.ReplaceAsync(
        name, change,
        async () =>
        {
            var (isRead, first) = _first;
            _first = default;
            return isRead ? first : await ReadWholeAsync(cancellationToken).ConfigureAwait(false);
        },
        (bytes, version) => client.TryPutAsync(_key, bytes, version, cancellationToken), time, cancellationToken);

    /// <summary>The caches that writers left beside the object of the name, without those it contains. One that cannot be read is
    /// being written: its writer joins it.</summary>
    public async Task<IReadOnlyList<MarshalledCache>> ReadPartsAsync(IReadOnlyList<string> contained, IBlobProvider blobs, CancellationToken cancellationToken)
    {
        var listed = await ListPartsAsync(cancellationToken).ConfigureAwait(false);
        return [.. (await ReadPartsAsync(listed, contained, blobs, cancellationToken).ConfigureAwait(false)).Select(part => part.Cache)];
    }

    /// <summary>Whether the store keeps what conditions say. Objects that are there are replaced under one kind of condition, new
    /// ones made under another.</summary>
    private async Task<bool> KnowsConditionsAsync(byte[] part, CancellationToken cancellationToken)
    {
        try
        {
            if (await client.TryPutAsync(_partKey, part, NoSuchState, cancellationToken).ConfigureAwait(false))
                return false;
            // Once in the life of a cache: whether a second one would be kept from making it too.
            if (_first is { IsRead: true, Config: null })
            {
                await client.TryPutAsync(_partKey, part, etag: null, cancellationToken).ConfigureAwait(false);
                if (await client.TryPutAsync(_partKey, part, etag: null, cancellationToken).ConfigureAwait(false))
                    return false;
                await client.DeleteAsync(_partKey, cancellationToken).ConfigureAwait(false);
            }
            return true;
        }
        catch (TransferException e) when (e.Status == 501)
        {
            await client.PutAsync(_partKey, StoreBody.Of(part), cancellationToken).ConfigureAwait(false);
            return false;
        }
    }

    private async Task<bool> JoinPartsAsync(MarshalledCache cache, RecentBlobs recent, MergeOptions options, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        // In this order: what was removed from the parts is in the object of the name before.
        var listed = await ListPartsAsync(cancellationToken).ConfigureAwait(false);
        var there = (await ReadWholeAsync(cancellationToken).ConfigureAwait(false))?.Cache;
        await recent.ReplacingAsync(there, cancellationToken).ConfigureAwait(false);
        IReadOnlyList<string> known = [.. there?.Config.Parts ?? [], NameOf(_partKey)];
        var parts = await ReadPartsAsync(listed, known, NoBlobs.Instance, cancellationToken).ConfigureAwait(false);
        var contained = known.Concat(parts.Select(part => part.Name)).ToHashSet(StringComparer.Ordinal);
        IReadOnlyList<string> told = [.. listed.Select(part => NameOf(part.Key)).Append(NameOf(_partKey)).Distinct().Where(contained.Contains).Order(StringComparer.Ordinal)];
        var now = time.GetUtcNow();
        List<MarshalledCache> others = [.. parts.Select(part => part.Cache)];
        if (there is not null)
            others.Add(there);
        var joined = await CacheMerge.JoinAsync(cache with { Config = cache.Config with { Parts = told } }, others, options, now, cancellationToken).ConfigureAwait(false);
        if (time.GetElapsedTime(started) > LongestJoin)
            return false;
        await client.PutAsync(_key, StoreBody.Of(AnnotatedCache.Annotate(joined).ToJson()), cancellationToken).ConfigureAwait(false);
        if (await ReadWholeAsync(cancellationToken).ConfigureAwait(false) is null)
            return false;
        foreach (var part in listed.Where(part => now - part.LastModified > PartAge && contained.Contains(NameOf(part.Key))))
            await client.DeleteAsync(part.Key, cancellationToken).ConfigureAwait(false);
        return true;
    }

    private Task<IReadOnlyList<ListedObject>> ListPartsAsync(CancellationToken cancellationToken) => client.ListAsync(config.PartsPrefix(name), cancellationToken);

    private string NameOf(string partKey) => partKey[config.PartsPrefix(name).Length..];

    private async Task<IReadOnlyCollection<(string Name, MarshalledCache Cache)>> ReadPartsAsync(
        IReadOnlyList<ListedObject> listed, IEnumerable<string> contained, IBlobProvider blobs, CancellationToken cancellationToken)
    {
        var parts = new ConcurrentBag<(string, MarshalledCache)>();
        var unknown = listed.Select(part => NameOf(part.Key)).Except(contained, StringComparer.Ordinal);
        await Parallel.ForEachAsync(unknown, new ParallelOptions { MaxDegreeOfParallelism = PartsAtOnce, CancellationToken = cancellationToken }, async (part, token) =>
        {
            try
            {
                if (await client.ReadAsync(config.PartsPrefix(name) + part, token).ConfigureAwait(false) is { } json)
                    parts.Add((part, AnnotatedCache.Read(json, blobs)));
            }
            catch (Exception e) when (e is FormatException or RemoteCacheException)
            {
                // Documented: its writer is not done.
            }
        }).ConfigureAwait(false);
        return parts;
    }

    /// <summary>The cache in the object of the name, which others may be writing: simple stores show what was written so far, or a
    /// mixture. What stays unreadable is an empty cache.</summary>
    private async Task<StoredConfig?> ReadWholeAsync(CancellationToken cancellationToken)
    {
        for (var read = 1; ; read++)
        {
            if (await client.ReadTaggedAsync(_key, cancellationToken).ConfigureAwait(false) is not { } found)
                return null;
            try
            {
                return new StoredConfig(AnnotatedCache.Read(found.Bytes, NoBlobs.Instance), found.Bytes, found.ETag);
            }
            catch (FormatException)
            {
                if (read == MostReads)
                    return new StoredConfig(new MarshalledCache(new CacheConfig([], []), new Dictionary<Oci.Digest, LayerBlob>()), found.Bytes, found.ETag);
            }
            await ConditionalMerge.PauseAsync(read, time, cancellationToken).ConfigureAwait(false);
        }
    }
}
