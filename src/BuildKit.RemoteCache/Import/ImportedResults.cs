using System.Globalization;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Import;

/// <summary>Results of an imported cache: loading one makes refs over its layers without fetching them, unless they come from
/// the client's session (spec 04 §7.3).</summary>
/// <param name="cache">The parsed graph.</param>
/// <param name="refs">Where refs are made.</param>
/// <param name="toResult">Makes a result that owns a ref.</param>
/// <param name="backend">Where the cache comes from.</param>
/// <param name="health">What is known of the import.</param>
internal sealed class ImportedResults(
    ParsedCache cache, IRefStore refs, Func<IImmutableRef, IResult> toResult, ICacheImportBackend backend, ImportHealth health) : IChainResultStorage
{
    public ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("importer is immutable");

    public bool Exists(string resultId) => cache.FindResult(resultId) is not null;

    public async Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken) =>
        await LoadLayersAsync(context, Find(result.Id).Layers, cancellationToken).ConfigureAwait(false);

    public async Task<IReadOnlyDictionary<string, LoadedResult>> LoadWithParentsAsync(
        IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken)
    {
        _ = Find(result.Id);
        var loaded = new Dictionary<string, LoadedResult>(StringComparer.Ordinal);
        try
        {
            foreach (var (key, found) in cache.FindPrefixes(result.Id))
                loaded[key] = new LoadedResult(await LoadLayersAsync(context, found.Layers, cancellationToken).ConfigureAwait(false), found.CreatedAt);
            return loaded;
        }
        catch
        {
            foreach (var (_, made) in loaded)
            {
                if (made.Result is not null)
                    await made.Result.DisposeAsync().ConfigureAwait(false);
            }
            throw;
        }
    }

    public Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        var layers = Guarded(Find(result.Id).Layers, context);
        if (compression is CompressionOptions wanted)
        {
            var matching = layers.Descriptors.Count(d => TypeOf(d) == wanted.Type);
            if (wanted.Force ? matching < layers.Descriptors.Count : matching == 0)
                return Task.FromResult<IReadOnlyList<object>>([]);
        }
        return Task.FromResult<IReadOnlyList<object>>([layers]);
    }

    private ImportedResult Find(string resultId) =>
        cache.FindResult(resultId) ?? throw new RemoteCacheException($"{resultId}: not found");

    private RemoteLayers Guarded(RemoteLayers layers, IOperationContext? context) => layers with { Provider = health.Guard(layers.Provider, () => backend.IsBusy, context?.Progress) };

    private async Task<IResult> LoadLayersAsync(IOperationContext? context, RemoteLayers stored, CancellationToken cancellationToken)
    {
        var layers = Guarded(stored, context);
        var asked = layers.Descriptors.Select(d => layers.Provider.StatAsync(d, cancellationToken).AsTask()).ToList();
        Descriptor?[] known;
        try
        {
            known = await Task.WhenAll(asked).ConfigureAwait(false);
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            health.Lose(layers.Descriptors[asked.FindIndex(answer => !answer.IsCompletedSuccessfully)].Digest, e, context?.Progress);
            throw;
        }
        for (var i = 0; i < known.Length; i++)
        {
            // What was fetched already is good, whatever became of the import.
            if (known[i] is null && await refs.Content.GetInfoAsync(layers.Descriptors[i].Digest, cancellationToken).ConfigureAwait(false) is null)
            {
                var gone = new RemoteCacheException($"blob {layers.Descriptors[i].Digest} of the imported cache is gone");
                if (!health.IsLost(layers.Descriptors[i].Digest))
                    health.Lose(layers.Descriptors[i].Digest, gone, context?.Progress);
                throw gone;
            }
        }
        var progress = context is null ? null : new LayerProgress(context.Progress);
        var cannotWait = backend.IsSessionBound || health.IsDoubtful;
        var handlers = layers.Descriptors.DistinctBy(d => d.Digest).ToDictionary(d => d.Digest, d => new DescriptorHandler
        {
            Provider = layers.Provider,
            Annotations = d.Annotations,
            Ref = backend.ImageRef,
            Progress = progress is null ? null : progress.Report,
            Lost = (digest, why) => health.Lose(digest, why, context?.Progress),
        });
        IImmutableRef? top = null;
        try
        {
            foreach (var descriptor in layers.Descriptors)
            {
                var created = descriptor.Annotations.TryGetValue("buildkit/createdat", out var text) && Rfc3339Time.TryParse(text, out var time)
                    ? time.ToDateTimeOffset()
                    : (DateTimeOffset?)null;
                var next = await refs.GetByBlobAsync(descriptor, top, new RefOptions
                {
                    Handlers = handlers,
                    CreatedAt = created,
                    Description = descriptor.Annotations.GetValueOrDefault("buildkit/description") ?? $"imported {descriptor.Digest}",
                    ImageRef = backend.ImageRef.Length > 0 ? backend.ImageRef : null,
                    Progress = progress is null ? null : progress.Report,
                }, cancellationToken).ConfigureAwait(false);
                if (top is not null)
                    await top.DisposeAsync().ConfigureAwait(false);
                top = next;
            }
            if (cannotWait && top is not null)
                await refs.PullAsync(top, cancellationToken).ConfigureAwait(false);
            return toResult(top ?? throw new RemoteCacheException("imported result without layers"));
        }
        catch
        {
            if (top is not null)
                await top.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static CompressionType TypeOf(Descriptor descriptor)
    {
        if (descriptor.Annotations.ContainsKey(EStargzAnnotations.TocDigest))
            return CompressionType.EStargz;
        return descriptor.MediaType switch
        {
            _ when descriptor.MediaType.EndsWith("gzip", StringComparison.Ordinal) => CompressionType.Gzip,
            _ when descriptor.MediaType.EndsWith("zstd", StringComparison.Ordinal) => CompressionType.Zstd,
            _ => CompressionType.Uncompressed,
        };
    }

    private sealed class LayerProgress(IProgressWriter writer)
    {
        private readonly System.Collections.Concurrent.ConcurrentDictionary<string, DateTimeOffset> _started = new(StringComparer.Ordinal);

        public void Report(string id, long current, long total, bool done)
        {
            var now = TimeProvider.System.GetUtcNow();
            var started = _started.GetOrAdd(id, now);
            var name = id.Contains(' ', StringComparison.Ordinal) ? id.Split(' ')[0].ToLower(CultureInfo.InvariantCulture) : "";
            writer.Write(new ProgressStatus(id, default, name, current, total, now, started, done ? now : null));
        }
    }
}
