using BuildKit.Registry;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Export;
using BuildKit.RemoteCache.Import;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Session.Content;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sessions;

namespace BuildKit.Daemon.Solving;

/// <summary>Imports and exports build caches for builds (spec 04).</summary>
public sealed class CacheTransfer(
    CacheBackendRegistry backends, RegistryClient registry, IClientSessions sessions, IRefStore refs, string workerId, TimeProvider time, TimeSpan? firstRetry = null)
{
    // Connections to object stores outlive a build: those to the same store are used again.
    private readonly HttpMessageInvoker _http = StoreConnection.CreateInvoker();
    private readonly MergeTurns _turns = new();

    /// <summary>An imported cache, resolved in the background and shown as a step of the build. One that cannot be had
    /// answers nothing; the build goes on.</summary>
    public ICacheManager OpenImport(string type, IReadOnlyDictionary<string, string> attributes, Job job) =>
        ImportedCache.Start(
            job, backends, type, attributes, Context(job.SessionId), refs, reference => new WorkerResult(workerId, reference), CancellationToken.None);

    /// <summary>An export; its attributes are checked here, before anything is built.</summary>
    public async Task<CacheExportTask> OpenExportAsync(
        string type, IReadOnlyDictionary<string, string> attributes, string sessionId, CancellationToken cancellationToken) =>
        new(type, await backends.ResolveExporterAsync(type, attributes, Context(sessionId), cancellationToken),
            CacheAttributes.Mode(attributes), CacheAttributes.IgnoreError(attributes), CacheMountSelection.Read(attributes), time);

    private CacheBackendContext Context(string sessionId) => new()
    {
        Registry = registry,
        Credentials = new SessionRegistryCredentials(sessions, sessionId.Length > 0 ? [sessionId] : []),
        OpenClientStore = async (name, cancellationToken) => sessionId.Length == 0
            ? null
            : new SessionContentStore(new ContentClient((await sessions.GetAsync(sessionId, cancellationToken)).Channel, name)),
        Time = time,
        Http = _http,
        Turns = _turns,
        FirstRetry = firstRetry,
    };
}

/// <summary>One cache export of one build.</summary>
public sealed class CacheExportTask(string type, ICacheExportBackend backend, CacheExportMode mode, bool ignoreError, CacheMountSelection? mounts, TimeProvider time)
{
    /// <summary>Type of the backend.</summary>
    public string Type => type;

    /// <summary>Name of the progress vertex.</summary>
    public string Name => backend.VertexName;

    /// <summary>Failure is shown but does not fail the build.</summary>
    public bool IgnoreError => ignoreError;

    /// <summary>The records travel inside the image's config, written by the image exporter.</summary>
    public bool IsInline => backend is InlineCacheExport;

    /// <summary>Writes the results' records to the backend, and the cache mounts that are to travel with them.</summary>
    public Task<IReadOnlyDictionary<string, string>> RunAsync(
        IReadOnlyList<CachedResult> results, BuildCacheMounts used, IOperationContext context, CancellationToken cancellationToken) =>
        CacheExport.RunAsync(
            backend, mode, results, MakeLayersAsync, context, time, cancellationToken,
            mounts is null ? null : (progress, token) => used.CollectAsync(mounts, backend.Compression, progress.Log, token));

    /// <summary>The records of one result whose image has these layers; null when none of them is of use. The compression is the
    /// image's: only records over its very layers are of use.</summary>
    public static async Task<byte[]?> CreateInlineAsync(
        CachedResult result, RemoteLayers layers, CompressionOptions compression, IOperationContext context, CancellationToken cancellationToken)
    {
        var target = new CacheExportTarget();
        var options = new CacheExportOptions
        {
            Mode = CacheExportMode.Min,
            Compression = compression, // or a layer that was converted for the image is not recognised as one of its layers
            SessionIds = context.SessionIds,
            ResolveRemotes = (value, token) => MakeLayersAsync(value, compression, token),
        };
        await CacheExport.FillAsync(target, [result], options, cancellationToken);
        return await InlineCache.CreateAsync(target, [.. layers.Descriptors.Select(layer => layer.Digest)], cancellationToken);
    }

    private static async Task<IReadOnlyList<object>> MakeLayersAsync(IResult result, CompressionOptions compression, CancellationToken cancellationToken)
    {
        var reference = WorkerResult.RefOf(result);
        return reference is null ? [] : [.. await reference.GetRemotesAsync(createIfNeeded: true, compression, all: false, cancellationToken)];
    }
}
