using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>
/// Joins an export with the caches of a bucket so that concurrent writers lose nothing.
/// <list type="number">
/// <item>The export is put as a part of its own, on a condition that a new object cannot meet. A store that knows conditions
/// refuses, and needs no parts: the object of the name itself is replaced on condition that it still is what was read.</item>
/// <item>A store that ignored the condition has the part now. All parts and the object of the name are joined into the object
/// of the name, which says that there are parts. Writers may overwrite each other there, but what one of them wrote lies in its
/// part: importers take the parts too, and the next export joins it again.</item>
/// <item>Parts are removed an hour later, when they are contained in the object of the name: no writer can be left by then who
/// listed the parts before this one came, because joining is given up after <see cref="LongestJoin"/> and started again.</item>
/// </list>
/// </summary>
internal sealed class S3Merge(S3Config config, S3Client client, TimeProvider time)
{
    private const string NoSuchState = "\"00000000000000000000000000000000\"";
    private const int MostReads = 8;
    private static readonly TimeSpan PartAge = TimeSpan.FromHours(1);
    private static readonly TimeSpan LongestJoin = TimeSpan.FromMinutes(10);

    /// <summary>Joins an export whose layers are in the bucket.</summary>
    public async Task JoinAsync(MarshalledCache cache, string name, MergeOptions options, CancellationToken cancellationToken)
    {
        var part = AnnotatedCache.Annotate(cache).ToJson();
        var partKey = $"{config.PartsPrefix(name)}{Guid.NewGuid():N}";
        if (await KnowsConditionsAsync(partKey, part, cancellationToken).ConfigureAwait(false))
        {
            await ReplaceAsync(name, async there => await CacheMerge.JoinAsync(
                cache, there is null ? [] : [there], options, time.GetUtcNow(), cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
            return;
        }
        for (var isWritten = false; !isWritten;)
            isWritten = await JoinPartsAsync(cache, name, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Replaces the object of a name on condition that it still is what was read.</summary>
    public Task ReplaceAsync(string name, Func<MarshalledCache?, Task<MarshalledCache?>> change, CancellationToken cancellationToken)
    {
        var key = config.ManifestKey(name);
        return AnnotatedCache.ReplaceAsync(
            name, change, () => client.ReadTaggedAsync(key, cancellationToken), (bytes, etag) => client.TryPutAsync(key, bytes, etag, cancellationToken), time, cancellationToken);
    }

    /// <summary>The caches that writers left beside the object of a name.</summary>
    public async Task<IReadOnlyList<(ListedObject Object, MarshalledCache Cache)>> ReadPartsAsync(string name, IBlobProvider blobs, CancellationToken cancellationToken)
    {
        List<(ListedObject, MarshalledCache)> parts = [];
        foreach (var listed in await client.ListAsync(config.PartsPrefix(name), cancellationToken).ConfigureAwait(false))
        {
            if (await client.ReadAsync(listed.Key, cancellationToken).ConfigureAwait(false) is { } json)
                parts.Add((listed, AnnotatedCache.Read(json, blobs)));
        }
        return parts;
    }

    /// <summary>Whether the store refused to put an object whose present state was asked for and that is not there.</summary>
    private async Task<bool> KnowsConditionsAsync(string key, byte[] bytes, CancellationToken cancellationToken)
    {
        try
        {
            return !await client.TryPutAsync(key, bytes, NoSuchState, cancellationToken).ConfigureAwait(false);
        }
        catch (TransferException e) when (e.Status == 501)
        {
            await client.PutAsync(key, StoreBody.Of(bytes), cancellationToken).ConfigureAwait(false);
            return false;
        }
    }

    private async Task<bool> JoinPartsAsync(MarshalledCache cache, string name, MergeOptions options, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        var key = config.ManifestKey(name);
        // In this order: what was removed from the parts is in the object of the name before.
        var parts = await ReadPartsAsync(name, NoBlobs.Instance, cancellationToken).ConfigureAwait(false);
        List<MarshalledCache> others = [.. parts.Select(part => part.Cache)];
        if (await ReadWholeAsync(key, cancellationToken).ConfigureAwait(false) is { } there)
            others.Add(there);
        var now = time.GetUtcNow();
        var marked = cache with { Config = cache.Config with { HasParts = true } };
        var joined = await CacheMerge.JoinAsync(marked, others, options, now, cancellationToken).ConfigureAwait(false);
        if (time.GetElapsedTime(started) > LongestJoin)
            return false;
        await client.PutAsync(key, StoreBody.Of(AnnotatedCache.Annotate(joined).ToJson()), cancellationToken).ConfigureAwait(false);
        if (await ReadWholeAsync(key, cancellationToken).ConfigureAwait(false) is null)
            return false;
        foreach (var (listed, _) in parts)
        {
            if (now - listed.LastModified > PartAge)
                await client.DeleteAsync(listed.Key, cancellationToken).ConfigureAwait(false);
        }
        return true;
    }

    /// <summary>The cache in an object that others may be writing: simple stores show what was written so far, or a mixture. What
    /// stays unreadable is no cache.</summary>
    private async Task<MarshalledCache?> ReadWholeAsync(string key, CancellationToken cancellationToken)
    {
        for (var attempt = 0; attempt < MostReads; attempt++)
        {
            try
            {
                return await client.ReadAsync(key, cancellationToken).ConfigureAwait(false) is { } json ? AnnotatedCache.Read(json, NoBlobs.Instance) : null;
            }
            catch (Exception e) when (e is FormatException or TransferException { IsTransient: true })
            {
                await ConditionalMerge.PauseAsync(attempt + 4, time, cancellationToken).ConfigureAwait(false);
            }
        }
        return null;
    }
}
