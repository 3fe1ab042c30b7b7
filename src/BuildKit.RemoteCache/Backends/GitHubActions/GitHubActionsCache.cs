using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Registry.Transfer;
using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>A cache in GitHub's cache service (spec 04 §8.4): one entry per layer blob, and a numbered index per scope of the token.
/// One object serves all builds of a daemon, so that they wait together when the service is busy.</summary>
internal sealed class GitHubActionsCache
{
    private const int LayersAtOnce = 4;

    // For all parts in flight of one export.
    private const long BufferBytes = 64L << 20;

    private readonly ActionsRateLimit _limit = new();
    private readonly ActionsRateLimit _listLimit = new();

    public Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var config = ActionsCacheConfig.Read(attributes, context.Time.GetUtcNow());
        var list = config.Repository.Length > 0 && config.GitHubToken.Length > 0
            ? new RepositoryCaches(RepositoryCaches.Connect(context.Http, PolicyOf(config), config, context.Time), _listLimit, config)
            : null;
        return Task.FromResult<ICacheExportBackend>(new Export(config, Connect(config, context), list, context.Time));
    }

    public Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var config = ActionsCacheConfig.Read(attributes, context.Time.GetUtcNow());
        return Task.FromResult<ICacheImportBackend>(new Import(config, Connect(config, context), _limit));
    }

    private IActionsService Connect(ActionsCacheConfig config, CacheBackendContext context)
    {
        var policy = PolicyOf(config);
        StoreConnection Connection(IStoreProtocol protocol) => new(context.Http, protocol, policy, context.Time);
        var calls = Connection(new ActionsProtocol(config.Token.Raw));
        return config.IsVersion2
            ? new ActionsServiceV2(
                new ActionsApi(calls, Connection(new AzureBlobProtocol(null, context.Time)), "x-ms-range", _limit, config.Timeout), config.Url, new PartBuffers(BufferBytes))
            : new ActionsServiceV1(new ActionsApi(calls, Connection(new ActionsArchiveProtocol()), "Range", _limit, config.Timeout), config.Url);
    }

    private static TransferPolicy PolicyOf(ActionsCacheConfig config) =>
        TransferPolicy.Default with { Silence = config.Timeout < TransferPolicy.Default.Silence ? config.Timeout : TransferPolicy.Default.Silence };

    private sealed class Export(ActionsCacheConfig config, IActionsService service, RepositoryCaches? list, TimeProvider time) : ICacheExportBackend
    {
        public string VertexName => "exporting to GitHub Actions Cache";

        public CompressionOptions Compression => config.Compression;

        public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
        {
            var blobs = AnnotatedCache.Blobs(cache);
            var known = blobs.Count == 0 ? null : await ListAsync(progress, cancellationToken).ConfigureAwait(false);
            var options = new ParallelOptions { MaxDegreeOfParallelism = LayersAtOnce, CancellationToken = cancellationToken };
            await Parallel.ForEachAsync(blobs, options, async (blob, token) =>
            {
                var key = ActionsCacheConfig.BlobKey(blob.Descriptor.Digest);
                if (known?.Contains(key) ?? await service.FindAsync(key, token).ConfigureAwait(false) is not null)
                    return;
                await progress.RunAsync($"writing layer {blob.Descriptor.Digest}", blob.Descriptor.Size,
                    sent => RemoteCacheException.WrapAsync("error writing layer blob", () => WriteAsync(key, blob, sent, token))).ConfigureAwait(false);
            }).ConfigureAwait(false);
            var json = AnnotatedCache.Annotate(cache).ToJson();
            await progress.RunAsync($"writing config {Digest.Sha256(json)}", async () =>
            {
                await new ActionsIndex(service, time).SaveAsync(config.IndexKey(config.Token.WriteScope), json, cancellationToken).ConfigureAwait(false);
                return true;
            }).ConfigureAwait(false);
            return new Dictionary<string, string>(StringComparer.Ordinal);
        }

        private async Task WriteAsync(string key, LayerBlob blob, IProgress<long> sent, CancellationToken cancellationToken)
        {
            ActionsReservation reservation;
            try
            {
                reservation = await service.ReserveAsync(key, cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e) when (e.Code == ActionsProtocol.AlreadyExists)
            {
                return; // Another job has written it or is about to; imports ask for each layer before they use it.
            }
            catch (TransferException e) when (e.Code == ActionsApi.LostReservation)
            {
                if (await service.FindAsync(key, cancellationToken).ConfigureAwait(false) is null)
                    throw;
                return;
            }
            try
            {
                var content = new ActionsContent(blob.Descriptor.Size, (offset, token) => blob.Provider.OpenAsync(blob.Descriptor, offset, token)) { Progress = sent };
                await service.UploadAsync(reservation, content, cancellationToken).ConfigureAwait(false);
                await service.CommitAsync(reservation, blob.Descriptor.Size, cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e) when (e.Code == ActionsProtocol.AlreadyExists)
            {
                // Documented: whenever the service says so, the entry counts as written.
            }
        }

        private async Task<IReadOnlySet<string>?> ListAsync(CacheProgress progress, CancellationToken cancellationToken)
        {
            if (list is null)
                return null;
            try
            {
                return await list.BlobKeysAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e)
            {
                // Documented: without the list each layer is asked for.
                progress.Warn($"cannot list the caches of {config.Repository}, asking for each layer: {e.Message}");
                return null;
            }
        }
    }

    private sealed class Import(ActionsCacheConfig config, IActionsService service, ActionsRateLimit limit) : ICacheImportBackend, IBlobProvider
    {
        private readonly ConcurrentDictionary<Digest, Task<ActionsEntry?>> _entries = new();
        private volatile TransferException? _givenUp;

        public bool IsSessionBound => false;

        public bool IsBusy => limit.IsWaiting;

        public string ImageRef => "";

        public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
        {
            var reads = config.Token.Scopes.Select(scope => scope.Name).Distinct(StringComparer.Ordinal)
                .Select(scope => ReadScopeAsync(config.IndexKey(scope), cancellationToken)).ToList();
            await Task.WhenAll(reads).ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default).ConfigureAwait(false);
            var graphs = reads.Where(read => read.IsCompletedSuccessfully).Select(read => read.Result).OfType<IReadOnlyList<CacheNode>>().ToList();
            var failed = reads.FirstOrDefault(read => !read.IsCompletedSuccessfully);
            if (failed is null)
                return graphs;
            cancellationToken.ThrowIfCancellationRequested();
            // What one branch wrote last does not take the others' cache away.
            if (graphs.Count == 0)
                await failed.ConfigureAwait(false);
            progress.Warn($"a part of the cache is not used: {failed.Exception!.GetBaseException().Message}");
            return graphs;
        }

        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            var entry = await FindAsync(descriptor.Digest, cancellationToken).ConfigureAwait(false) ?? throw new BlobNotFoundException(descriptor.Digest);
            return new WatchedStream(service.Open(entry, offset, descriptor.Size), error => Failed(descriptor.Digest, error));
        }

        /// <summary>Asks the service once per blob: one that is gone means that its step is executed.</summary>
        public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
            await FindAsync(descriptor.Digest, cancellationToken).ConfigureAwait(false) is null ? null : descriptor;

        private async Task<ActionsEntry?> FindAsync(Digest digest, CancellationToken cancellationToken)
        {
            if (_givenUp is { } reason)
                throw reason;
            var asked = _entries.GetOrAdd(digest, missing => service.FindAsync(ActionsCacheConfig.BlobKey(missing), cancellationToken));
            try
            {
                return await asked.ConfigureAwait(false);
            }
            catch (Exception e)
            {
                _entries.TryRemove(new(digest, asked)); // an error is no answer
                if (e is TransferException error)
                    Failed(digest, error);
                throw;
            }
        }

        /// <summary>A service that does not answer for all the patience it was shown is not asked again: each further layer would
        /// take as long, and building is quicker. A single layer that is refused counts as gone.</summary>
        private void Failed(Digest digest, TransferException error)
        {
            if (error.Status is 0 or 429 or >= 500)
                _givenUp = error;
            else
                _entries[digest] = Task.FromResult<ActionsEntry?>(null);
        }

        private async Task<IReadOnlyList<CacheNode>?> ReadScopeAsync(string key, CancellationToken cancellationToken)
        {
            if (await service.FindAsync(key, cancellationToken).ConfigureAwait(false) is not { } entry)
                return null;
            var document = CacheConfig.Parse(await service.ReadAsync(entry, cancellationToken).ConfigureAwait(false));
            return CacheParser.Parse(document, AnnotatedCache.BlobsOf(document, this));
        }
    }

    /// <summary>A download whose final failure is told.</summary>
    private sealed class WatchedStream(Stream inner, Action<TransferException> failed) : ForwardStream(FileAccess.Read)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            }
            catch (TransferException e)
            {
                failed(e);
                throw;
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
