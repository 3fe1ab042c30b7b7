using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Export;

/// <summary>Runs one cache export (spec 04 §5): walks the keys of the results, writes the graph.</summary>
public static class CacheExport
{
    /// <summary>Exports the results' keys into a target. Only the first key of each result is walked.</summary>
    /// <param name="target">What is filled; several platforms share one.</param>
    /// <param name="results">Final results.</param>
    /// <param name="options">How far to go and how layers are made.</param>
    /// <param name="cancellationToken">Ends the walk.</param>
    public static async Task FillAsync(
        CacheExportTarget target, IEnumerable<CachedResult> results, CacheExportOptions options, CancellationToken cancellationToken)
    {
        foreach (var result in results)
            await result.Keys[0].Exporter.ExportToAsync(target, options, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The whole export, inside its own vertex. Returns what clients are told.</summary>
    /// <param name="backend">Where it goes.</param>
    /// <param name="mode">How far to go.</param>
    /// <param name="results">Final results of the build.</param>
    /// <param name="makeLayers">Makes the layers of a result with a compression (<c>RemoteLayers</c> each).</param>
    /// <param name="context">The vertex' context.</param>
    /// <param name="time">Clock of the progress records.</param>
    /// <param name="cancellationToken">Ends the export.</param>
    /// <param name="mounts">Contents of cache mounts that go along; null for none.</param>
    public static Task<IReadOnlyDictionary<string, string>> RunAsync(
        ICacheExportBackend backend, CacheExportMode mode, IReadOnlyList<CachedResult> results,
        Func<IResult, CompressionOptions, CancellationToken, Task<IReadOnlyList<object>>> makeLayers,
        IOperationContext context, TimeProvider time, CancellationToken cancellationToken,
        Func<CacheProgress, CancellationToken, Task<IReadOnlyList<CacheMountLayer>>>? mounts = null)
    {
        var progress = new CacheProgress(context.Progress, time);
        return progress.RunAsync("preparing build cache for export", async () =>
        {
            var target = new CacheExportTarget();
            var options = new CacheExportOptions
            {
                Mode = mode,
                Compression = backend.Compression,
                SessionIds = context.SessionIds,
                ResolveRemotes = (result, token) => makeLayers(result, backend.Compression, token),
            };
            await FillAsync(target, results, options, cancellationToken).ConfigureAwait(false);
            var along = mounts is null ? [] : await mounts(progress, cancellationToken).ConfigureAwait(false);
            while (true)
            {
                var cache = await target.MarshalAsync(cancellationToken).ConfigureAwait(false);
                if (along.Count > 0)
                    cache = cache.With(along);
                try
                {
                    return await backend.WriteAsync(cache, progress, cancellationToken).ConfigureAwait(false);
                }
                catch (Exception e) when (LayerLostException.IsCauseOf(e) && !cancellationToken.IsCancellationRequested)
                {
                    // A layer of an imported cache that was to be passed on. From now on it is known to be lost: the graph is
                    // written again without the results that need it, so this ends.
                }
            }
        });
    }
}
