using System.Text;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.RemoteCache.Import;

/// <summary>
/// An import as a cache source of a build. It is resolved in the background inside its own vertex; if that fails the vertex
/// says so and the source answers with nothing: an import never fails a build (spec 04 §7.1).
/// </summary>
public sealed class ImportedCache : ICacheManager
{
    private readonly Task<IReadOnlyList<LocalCacheManager>> _sources;

    private readonly ImportState _state;

    private ImportedCache(string id, ImportState state, Task<IReadOnlyList<LocalCacheManager>> sources)
    {
        Id = id;
        _state = state;
        _sources = sources;
    }

    /// <inheritdoc/>
    public string Id { get; }

    /// <inheritdoc/>
    public bool IsReady => _sources.IsCompleted;

    /// <inheritdoc/>
    public bool Holds(ICacheManager manager) =>
        ReferenceEquals(this, manager) || (_sources.IsCompletedSuccessfully && _sources.Result.Contains(manager));

    /// <summary>Why it answers with nothing; null when it was resolved, or is not yet.</summary>
    public Exception? Failure => _state.Failure;

    /// <summary>Contents of cache mounts that came with it, and whether their bytes come from the client's session; none while it
    /// cannot be had.</summary>
    public async Task<(IReadOnlyList<CacheMountLayer> Mounts, bool SessionBound)> GetMountsAsync(CancellationToken cancellationToken)
    {
        await _sources.WaitAsync(cancellationToken).ConfigureAwait(false);
        return (_state.Mounts, _state.IsSessionBound);
    }

    /// <summary>Identity of an import within a build: equal ones share a source.</summary>
    public static string IdOf(string type, IReadOnlyDictionary<string, string> attributes)
    {
        if (type == "registry" && attributes.TryGetValue("ref", out var reference) && reference.Length > 0)
            return reference;
        var text = type + "\n" + string.Join('\n', attributes.OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $"{a.Key}={a.Value}"));
        return $"{type}:{BitConverter.ToUInt64(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes(text)))}";
    }

    /// <summary>Starts resolving an import in the build's vertex <c>importing cache manifest from …</c>.</summary>
    /// <param name="job">The build.</param>
    /// <param name="backends">Known backends.</param>
    /// <param name="type">Type of the import.</param>
    /// <param name="attributes">Its attributes.</param>
    /// <param name="context">What backends may use.</param>
    /// <param name="refs">Where refs of hits are made.</param>
    /// <param name="toResult">Makes a result that owns a ref.</param>
    /// <param name="cancellationToken">Ends the resolving; the source then answers with nothing.</param>
    public static ImportedCache Start(
        Job job, CacheBackendRegistry backends, string type, IReadOnlyDictionary<string, string> attributes,
        CacheBackendContext context, IRefStore refs, Func<IImmutableRef, IResult> toResult, CancellationToken cancellationToken)
    {
        var id = IdOf(type, attributes);
        var health = new ImportHealth(id, CacheAttributes.Patience(type, attributes), context.Time);
        var state = new ImportState();
        return new ImportedCache(id, state, ResolveAsync());

        async Task<IReadOnlyList<LocalCacheManager>> ResolveAsync()
        {
            try
            {
                return await job.InContextAsync<IReadOnlyList<LocalCacheManager>>($"importing cache manifest from {id}", async (vertex, token) =>
                {
                    var (backend, graphs) = await ReadAsync(vertex, token).ConfigureAwait(false);
                    state.IsSessionBound = backend.IsSessionBound;
                    state.Mounts = [.. backend.Mounts.Select(mount => mount with
                    {
                        Layer = mount.Layer with { Provider = health.Guard(mount.Layer.Provider, () => backend.IsBusy, progress: null) },
                    })];
                    return graphs.Select((graph, i) =>
                    {
                        var parsed = new ParsedCache(graph);
                        return new LocalCacheManager($"{id}#{i}", parsed, new ImportedResults(parsed, refs, toResult, backend, health));
                    }).ToList();
                }, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception failure)
            {
                // Documented: the vertex has the error, the build goes on without this source.
                state.Failure = failure;
                return [];
            }
        }

        async Task<(ICacheImportBackend Backend, IReadOnlyList<IReadOnlyList<CacheNode>> Graphs)> ReadAsync(IOperationContext vertex, CancellationToken token)
        {
            try
            {
                ICacheImportBackend? opened = null;
                return await health.WithinLimitAsync(() => opened?.IsBusy ?? false, async limited =>
                {
                    var backend = opened = await backends.ResolveImporterAsync(type, attributes, context, limited).ConfigureAwait(false);
                    return (backend, await backend.ReadAsync(new CacheProgress(vertex.Progress, context.Time), limited).ConfigureAwait(false));
                }, token).ConfigureAwait(false);
            }
            catch (RemoteCacheException e) when (e.Message.StartsWith("unknown cache importer", StringComparison.Ordinal) || e.Message.StartsWith("failed to configure", StringComparison.Ordinal))
            {
                throw;
            }
            catch (Exception e) when (!token.IsCancellationRequested)
            {
                throw new RemoteCacheException($"failed to configure {type} cache importer: {e.Message}", e);
            }
        }
    }

    /// <inheritdoc/>
    public Task WhenReadyAsync(CancellationToken cancellationToken) => _sources.WaitAsync(cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CacheKey>> QueryAsync(
        IReadOnlyList<CacheKeyWithSelector> dependencyKeys, int input, Digest operation, int output, CancellationToken cancellationToken)
    {
        List<CacheKey> found = [];
        foreach (var source in await _sources.WaitAsync(cancellationToken).ConfigureAwait(false))
            found.AddRange(await source.QueryAsync(dependencyKeys, input, operation, output, cancellationToken).ConfigureAwait(false));
        return found;
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CacheRecord>> GetRecordsAsync(IOperationContext? context, CacheKey key, CancellationToken cancellationToken)
    {
        List<CacheRecord> found = [];
        foreach (var source in await _sources.WaitAsync(cancellationToken).ConfigureAwait(false))
            found.AddRange(await source.GetRecordsAsync(context, key, cancellationToken).ConfigureAwait(false));
        return found;
    }

    /// <inheritdoc/>
    public Task<IResult?> LoadAsync(IOperationContext? context, CacheRecord record, CancellationToken cancellationToken) =>
        record.Manager.LoadAsync(context, record, cancellationToken);

    /// <inheritdoc/>
    public ValueTask<ExportableCacheKey> SaveAsync(CacheKey key, IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken) =>
        throw new InvalidOperationException("importer is immutable");

    private sealed class ImportState
    {
        private Exception? _failure;

        /// <summary>Written before the sources are there, read after.</summary>
        public IReadOnlyList<CacheMountLayer> Mounts { get; set; } = [];

        public bool IsSessionBound { get; set; }

        public Exception? Failure
        {
            get => Volatile.Read(ref _failure);
            set => Volatile.Write(ref _failure, value);
        }
    }
}
