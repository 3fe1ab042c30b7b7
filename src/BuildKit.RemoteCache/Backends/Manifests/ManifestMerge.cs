using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>A target whose name points at the last manifest, for whoever reads it.</summary>
internal interface IJoinableTarget : IManifestTarget
{
    /// <summary>Identity of the name: exports into the same one take turns.</summary>
    string Place { get; }

    /// <summary>Reads what was written.</summary>
    IBlobProvider Blobs { get; }

    /// <summary>What the name points at, or null.</summary>
    Task<Descriptor?> FindCurrentAsync(CancellationToken cancellationToken);
}

/// <summary>
/// Joins an export with the cache a name points at, where names are replaced without conditions (registries):
/// <list type="number">
/// <item>Read what is there and join it; write the config.</item>
/// <item>Look at the name once more, and start again when it moved. Only then move it: between this look and the move lies the
/// only time in which another writer can be overwritten.</item>
/// <item>Wait much longer than that took and look again. Who finds its own manifest, or one that contains it, is done: other
/// writers that looked before it moved the name have moved it by now. Who was overwritten starts again.</item>
/// </list>
/// </summary>
internal sealed class ManifestMerge(IJoinableTarget target, MergeOptions options, TimeProvider time)
{
    private const int LargestReadable = 64 << 20;
    private const int MostAttempts = 60;
    private static readonly TimeSpan ShortestPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestPatience = TimeSpan.FromSeconds(30);

    /// <summary>Joins and writes; returns what the name points at in the end.</summary>
    /// <param name="own">The export; its layers are written.</param>
    /// <param name="document">Makes the documents of a joined cache.</param>
    /// <param name="write">Writes a part under its name in the progress.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    public async Task<Descriptor> JoinAsync(
        MarshalledCache own, Func<MarshalledCache, ManifestDocument> document, Func<ManifestDocument, bool, Task> write, CancellationToken cancellationToken)
    {
        var reader = new ManifestReader(target.Blobs);
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            var root = await target.FindCurrentAsync(cancellationToken).ConfigureAwait(false);
            var there = root is null ? null
                : await reader.ReadCacheAsync(await reader.ReadAsync(root, LargestReadable, cancellationToken).ConfigureAwait(false), LargestReadable, cancellationToken).ConfigureAwait(false);
            var joined = document(await CacheMerge.JoinAsync(own, there is { } found ? [found.Cache] : [], options, time.GetUtcNow(), cancellationToken).ConfigureAwait(false));
            if (there is { } same && same.Config.AsSpan().SequenceEqual(joined.ConfigJson))
                return root!;
            await write(joined, false).ConfigureAwait(false);

            var looked = time.GetTimestamp();
            if ((await target.FindCurrentAsync(cancellationToken).ConfigureAwait(false))?.Digest == root?.Digest)
            {
                await write(joined, true).ConfigureAwait(false);
                await Task.Delay(Patience(time.GetElapsedTime(looked)), time, cancellationToken).ConfigureAwait(false);
                if ((await target.FindCurrentAsync(cancellationToken).ConfigureAwait(false))?.Digest == joined.Manifest.Digest)
                    return joined.Manifest;
                // Two exports that limits push out of each other's cache would never agree.
                if (options.Limits.IsAny && attempt >= 5)
                    return joined.Manifest;
            }
            await ConditionalMerge.PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }
        throw new RemoteCacheException($"{target.Place} was changed by others {MostAttempts} times while this export tried to join it");
    }

    private static TimeSpan Patience(TimeSpan window)
    {
        var wanted = window * 4;
        return wanted < ShortestPatience ? ShortestPatience : wanted > LongestPatience ? LongestPatience : wanted;
    }
}
