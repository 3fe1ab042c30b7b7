using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;

namespace BuildKit.RemoteCache.Backends.Manifests;

/// <summary>
/// Joins an export with the cache a name points at, where names are replaced without conditions (registries). The cache has two
/// names, the one users know and a second one, which point at the same manifest when nobody writes:
/// <list type="number">
/// <item>Read what both point at (one manifest, as a rule) and join it; write the config.</item>
/// <item>Move the second name, then the main one, each only if a look right before shows something that was joined.</item>
/// <item>Wait much longer than that took, and look at both again. Who finds its manifest there is done: others that looked at a
/// name before it moved have moved it by now. Who finds another one starts again, and is done when that contains its export.</item>
/// </list>
/// A writer that stalls between its look and its move for longer than others wait takes away what they wrote, but under one of the
/// names only: after the second one it looks at the main one anew and joins what is there, after the main one it finds out by the
/// second one and joins that. When it dies instead, the next export joins both names, and importers that know of the second one
/// read both. Two writers that stall at the same time, one at each name, can still take away what a third one wrote between.
/// </summary>
internal sealed class ManifestMerge(IJoinableTarget target, MergeOptions options, MergeTurns turns, TimeProvider time, Action<string> log)
{
    private const int MostAttempts = 60;
    private const int WindowsToWait = 4;

    // Exports that limits push out of each other's cache would never agree: after so many attempts each has had its turn.
    private const int MostAttemptsWithLimits = 10;
    private static readonly TimeSpan QuietPatience = TimeSpan.FromSeconds(0.25);
    private static readonly TimeSpan BusyPatience = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan PatienceWithoutSecond = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestPatience = TimeSpan.FromSeconds(30);

    private readonly SharedManifestReader _reader = new(target, time);
    private bool _hasSecond = true;

    /// <summary>Joins and writes; returns what the main name points at in the end.</summary>
    /// <param name="own">The export; its layers are written.</param>
    /// <param name="document">Makes the documents of a joined cache.</param>
    /// <param name="writeConfig">Writes the config of a document.</param>
    /// <param name="moveMain">Moves the main name to a document when it points at something expected.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    public async Task<Descriptor> JoinAsync(
        MarshalledCache own, Func<MarshalledCache, ManifestDocument> document, Func<ManifestDocument, Task> writeConfig,
        Func<ManifestDocument, IReadOnlyCollection<Digest>, Task<MoveOutcome>> moveMain, CancellationToken cancellationToken)
    {
        own = own with { Config = own.Config with { Parts = [] } };
        for (var attempt = 0; attempt < MostAttempts; attempt++)
        {
            Descriptor? moved = null;
            TimeSpan patience;
            using (await turns.EnterAsync(target.Place, cancellationToken).ConfigureAwait(false))
            {
                var there = await _reader.ReadAsync(cancellationToken).ConfigureAwait(false);
                var joined = document(await CacheMerge.JoinAsync(own, there.Caches, options, time.GetUtcNow(), cancellationToken).ConfigureAwait(false));
                if (there.Main is { } main && main.ConfigJson.AsSpan().SequenceEqual(joined.ConfigJson))
                    return main.Root;
                await writeConfig(joined).ConfigureAwait(false);
                var isQuiet = attempt == 0 && there.Second is null;
                var started = time.GetTimestamp();
                if (await MoveSecondAsync(joined, there, isQuiet, cancellationToken).ConfigureAwait(false) && await moveMain(joined, there.Digests).ConfigureAwait(false) == MoveOutcome.Moved)
                    moved = joined.Manifest;
                patience = Patience(time.GetElapsedTime(started), isQuiet);
            }
            if (moved is not null)
            {
                await Task.Delay(patience, time, cancellationToken).ConfigureAwait(false);
                if (await IsAtAsync(CacheTag.Main, moved, cancellationToken).ConfigureAwait(false)
                    && (!_hasSecond || await IsAtAsync(CacheTag.Second, moved, cancellationToken).ConfigureAwait(false)))
                    return moved;
                if (options.Limits.IsAny && attempt >= MostAttemptsWithLimits)
                    return moved;
            }
            await ConditionalMerge.PauseAsync(attempt, time, cancellationToken).ConfigureAwait(false);
        }
        throw new RemoteCacheException($"{target.Place} was changed by others {MostAttempts} times while this export tried to join it");
    }

    private async Task<bool> MoveSecondAsync(ManifestDocument joined, SharedManifests there, bool isQuiet, CancellationToken cancellationToken)
    {
        if (!_hasSecond)
            return true;
        var outcome = await target.MoveAsync(CacheTag.Second, joined.Manifest, joined.ManifestJson, [there.SecondDigest], isQuiet ? there.Looked : null, cancellationToken).ConfigureAwait(false);
        if (outcome == MoveOutcome.Refused)
        {
            _hasSecond = false;
            log($"warning: {target.Place} has no second tag beside it, so a writer that stalls for longer than {PatienceWithoutSecond.TotalSeconds:0}s can take away what others wrote\n");
        }
        return outcome != MoveOutcome.Changed;
    }

    private async Task<bool> IsAtAsync(CacheTag tag, Descriptor manifest, CancellationToken cancellationToken) =>
        (await target.FindAsync(tag, cancellationToken).ConfigureAwait(false))?.Digest == manifest.Digest;

    private TimeSpan Patience(TimeSpan window, bool isQuiet)
    {
        var wanted = window * WindowsToWait;
        var shortest = !_hasSecond ? PatienceWithoutSecond : isQuiet ? QuietPatience : BusyPatience;
        return wanted < shortest ? shortest : wanted > LongestPatience ? LongestPatience : wanted;
    }
}
