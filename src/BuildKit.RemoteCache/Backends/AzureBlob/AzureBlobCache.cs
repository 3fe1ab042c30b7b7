using System.Collections.Concurrent;
using Azure.Core;
using Azure.Identity;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>A cache in a container of Azure Blob Storage (spec 04 §8.6): one blob per layer, and one per name that holds the
/// config. The container is made when it is missing.</summary>
internal static class AzureBlobCache
{
    private const int UploadsAtOnce = 4;

    // Three attempts more than the first, a little quicker than elsewhere: what the service's own clients do.
    private static readonly TransferPolicy Policy = new(4, TimeSpan.FromSeconds(0.8), TimeSpan.FromSeconds(60), TransferPolicy.Default.Silence);

    public static async Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var options = Configured(() => StoreExportOptions.Read(attributes));
        var (config, client) = await ConnectAsync(attributes, context, cancellationToken).ConfigureAwait(false);
        return new Export(config, options, client, context.Time);
    }

    public static async Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var (config, client) = await ConnectAsync(attributes, context, cancellationToken).ConfigureAwait(false);
        return new Import(config, client);
    }

    /// <summary>What prunes the names of a container.</summary>
    public static async Task<IPrunableCache> OpenPrunerAsync(IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var (config, client) = await ConnectAsync(attributes, context, cancellationToken).ConfigureAwait(false);
        return new ObjectStorePruner(token => new ObjectStoreParts(
            config.Names,
            (name, change) => ReplaceAsync(client, config.ManifestKey(name), name, change, context.Time, token),
            () => client.ListAsync(config.ManifestKey("") + "/", token),
            async key => (await client.ReadTaggedAsync(key, token).ConfigureAwait(false))?.Bytes,
            () => client.ListAsync(config.BlobKey(default) + "/", token),
            (digest, modified) => client.DeleteAsync(config.BlobKey(digest), modified, token)));
    }

    /// <summary>Replaces the config of a name on condition that it still is what was read.</summary>
    /// <param name="client">The container.</param>
    /// <param name="key">The config's blob.</param>
    /// <param name="name">Name of the cache.</param>
    /// <param name="change">Makes the new one; null leaves it.</param>
    /// <param name="time">Clock of pauses.</param>
    /// <param name="cancellationToken">Ends the attempts.</param>
    /// <param name="first">What was read already; null reads it.</param>
    private static Task ReplaceAsync(
        AzureBlobClient client, string key, string name, Func<MarshalledCache?, Task<MarshalledCache?>> change, TimeProvider time, CancellationToken cancellationToken, StoredConfig? first = null) =>
        AnnotatedCache.ReplaceAsync(
            name, change,
            async () =>
            {
                var read = first;
                first = null;
                return read ?? await ReadStoredAsync(client, key, cancellationToken).ConfigureAwait(false);
            },
            (bytes, version) => client.TryReplaceAsync(key, bytes, version, cancellationToken), time, cancellationToken);

    private static async Task<StoredConfig?> ReadStoredAsync(AzureBlobClient client, string key, CancellationToken cancellationToken) =>
        AnnotatedCache.Stored(await client.ReadTaggedAsync(key, cancellationToken).ConfigureAwait(false));

    private static async Task<(AzureBlobConfig Config, AzureBlobClient Client)> ConnectAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var config = Configured(() => AzureBlobConfig.Read(attributes, context.Environment));
        try
        {
            var protocol = new AzureBlobProtocol(IdentityOf(config, context.Time), context.Time);
            var store = new StoreConnection(context.Http, protocol, Policy.StartingAt(context.FirstRetry) with { Silence = config.Timeout }, context.Time);
            var client = new AzureBlobClient(store, config.AccountUrl, config.Container);
            await client.PrepareAsync(cancellationToken).ConfigureAwait(false);
            return (config, client);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new RemoteCacheException($"failed to create container client: {e.Message}", e);
        }
    }

    private static T Configured<T>(Func<T> read)
    {
        try
        {
            return read();
        }
        catch (FormatException e)
        {
            throw new RemoteCacheException($"failed to create azblob config: {e.Message}", e);
        }
    }

    private static IAzureIdentity IdentityOf(AzureBlobConfig config, TimeProvider time)
    {
        if (config.SecretAccessKey.Length == 0)
            return new TokenIdentity(DefaultCredential(), time);
        try
        {
            return new SharedKeyIdentity(config.AccountName, Convert.FromBase64String(config.SecretAccessKey));
        }
        catch (FormatException e)
        {
            throw new FormatException("failed to create shared key: decode account key: illegal base64 data", e);
        }
    }

    /// <summary>The daemon's own identity: service principal in the environment, workload identity, managed identity, the command
    /// line tools. Those of desktop programs have no place in a daemon.</summary>
    private static TokenCredential DefaultCredential() => new DefaultAzureCredential(new DefaultAzureCredentialOptions
    {
        ExcludeVisualStudioCredential = true,
        ExcludeVisualStudioCodeCredential = true,
        ExcludeAzurePowerShellCredential = true,
        ExcludeInteractiveBrowserCredential = true,
        ExcludeBrokerCredential = true,
    });

    private sealed class Export(AzureBlobConfig config, StoreExportOptions options, AzureBlobClient client, TimeProvider time) : ICacheExportBackend
    {
        public string VertexName => "exporting cache to Azure Blob Storage";

        public CompressionOptions Compression => options.Compression;

        public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
        {
            List<(string Name, StoredConfig? First, RecentBlobs Recent)> merges = [];
            foreach (var name in options.Merge is null ? [] : config.Names)
            {
                var recent = new RecentBlobs(cache, (blob, token) => WriteBlobAsync(blob, progress, isNamed: false, token));
                await RemoteCacheException.WrapAsync($"error reading manifest {name}", async () =>
                {
                    var first = await ReadStoredAsync(client, config.ManifestKey(name), cancellationToken).ConfigureAwait(false);
                    await recent.ReplacingAsync(first?.Cache, cancellationToken).ConfigureAwait(false);
                    merges.Add((name, first, recent));
                }).ConfigureAwait(false);
            }
            return await AnnotatedCache.WriteAsync(
                cache, progress, UploadsAtOnce,
                (blob, token) => WriteBlobAsync(blob, progress, merges.TrueForAll(merge => merge.Recent.IsNamed(blob.Descriptor.Digest)), token),
                json => WriteConfigAsync(cache, json, merges, cancellationToken), cancellationToken).ConfigureAwait(false);
        }

        private async Task WriteConfigAsync(
            MarshalledCache cache, byte[] json, IReadOnlyList<(string Name, StoredConfig? First, RecentBlobs Recent)> merges, CancellationToken cancellationToken)
        {
            if (options.Merge is not { } merge)
            {
                foreach (var name in config.Names)
                    await RemoteCacheException.WrapAsync($"error writing manifest {name}", () => client.ReplaceAsync(config.ManifestKey(name), json, cancellationToken)).ConfigureAwait(false);
                return;
            }
            foreach (var (name, first, recent) in merges)
            {
                await RemoteCacheException.WrapAsync($"error writing manifest {name}", () => ReplaceAsync(client, config.ManifestKey(name), name, async there =>
                {
                    await recent.ReplacingAsync(there, cancellationToken).ConfigureAwait(false);
                    return await CacheMerge.JoinAsync(cache, there is null ? [] : [there], merge, time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
                }, time, cancellationToken, first)).ConfigureAwait(false);
            }
        }

        /// <summary>Sends a layer. One that is there and that nothing names is made young before it is relied on: see <see cref="RecentBlobs"/>.</summary>
        private async ValueTask WriteBlobAsync(LayerBlob blob, CacheProgress progress, bool isNamed, CancellationToken cancellationToken)
        {
            var descriptor = blob.Descriptor;
            var name = config.BlobKey(descriptor.Digest);
            if (await client.FindAsync(name, cancellationToken).ConfigureAwait(false) is { } modified
                && (isNamed || time.GetUtcNow() - modified <= RecentBlobs.Young || await client.TouchAsync(name, cancellationToken).ConfigureAwait(false)))
                return;
            await progress.RunAsync($"writing layer {descriptor.Digest}", descriptor.Size, async sent =>
            {
                await client.CreateAsync(name, (offset, stop) => blob.Provider.OpenAsync(descriptor, offset, stop), descriptor.Size, sent, cancellationToken).ConfigureAwait(false);
                return true;
            }).ConfigureAwait(false);
        }
    }

    private sealed class Import(AzureBlobConfig config, AzureBlobClient client) : ICacheImportBackend, IBlobProvider
    {
        private readonly ConcurrentDictionary<Digest, Task<bool>> _there = new();
        private readonly ConcurrentBag<CacheMountLayer> _mounts = [];

        public bool IsSessionBound => false;

        public string ImageRef => "";

        public IReadOnlyList<CacheMountLayer> Mounts => CacheMerge.Newest([.. _mounts]);

        public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
        {
            var graphs = await Task.WhenAll(config.Names.Select(name => ReadNameAsync(name, progress, cancellationToken))).ConfigureAwait(false);
            return [.. graphs.OfType<IReadOnlyList<CacheNode>>()];
        }

        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            ValueTask.FromResult(client.Open(config.BlobKey(descriptor.Digest), offset, descriptor.Size));

        /// <summary>Asks the service once per blob: one that is gone means that its step is executed.</summary>
        public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken)
        {
            var asked = _there.GetOrAdd(descriptor.Digest, digest => client.ExistsAsync(config.BlobKey(digest), cancellationToken));
            try
            {
                return await asked.ConfigureAwait(false) ? descriptor : null;
            }
            catch
            {
                _there.TryRemove(new(descriptor.Digest, asked)); // an error is no answer
                throw;
            }
        }

        private async Task<IReadOnlyList<CacheNode>?> ReadNameAsync(string name, CacheProgress progress, CancellationToken cancellationToken)
        {
            IReadOnlyList<CacheNode>? graph = null;
            await RemoteCacheException.WrapAsync($"failed to load cache manifest {name}", async () =>
            {
                var key = config.ManifestKey(name);
                if (!await client.ExistsAsync(key, cancellationToken).ConfigureAwait(false))
                    return;
                var document = CacheConfig.Parse(await client.ReadAsync(key, cancellationToken).ConfigureAwait(false));
                var blobs = AnnotatedCache.BlobsOf(document, this);
                progress.Note($"found {blobs.Count} layers in cache");
                graph = CacheParser.Parse(document, blobs);
                foreach (var mount in CacheMountLayer.In(document, this))
                    _mounts.Add(mount);
            }).ConfigureAwait(false);
            return graph;
        }
    }
}
