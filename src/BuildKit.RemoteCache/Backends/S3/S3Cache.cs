using System.Text.Json;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Annotated;
using BuildKit.RemoteCache.Backends.S3.Credentials;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>A cache in an S3 bucket (spec 04 §8.5): one object per layer blob, and one per name that holds the config.</summary>
internal static class S3Cache
{
    // For all parts in flight of one export.
    private const long BufferBytes = 64L << 20;

    public static Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var config = S3Config.Read(attributes, context.Environment);
        return Task.FromResult<ICacheExportBackend>(new Export(config, StoreExportOptions.Read(attributes), Connect(config, context), context.Time));
    }

    public static Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var config = S3Config.Read(attributes, context.Environment);
        return Task.FromResult<ICacheImportBackend>(new Import(config, Connect(config, context), context.Time));
    }

    /// <summary>What prunes the names of a bucket.</summary>
    public static IPrunableCache OpenPruner(IReadOnlyDictionary<string, string> attributes, CacheBackendContext context)
    {
        var config = S3Config.Read(attributes, context.Environment);
        var client = Connect(config, context);
        return new ObjectStorePruner(token => new ObjectStoreParts(
            config.Names,
            (name, change) => new S3Merge(config, client, name, context.Time).ReplaceAsync(change, token),
            () => client.ListAsync(config.Prefix + config.ManifestsPrefix, token),
            key => client.ReadAsync(key, token),
            () => client.ListAsync(config.Prefix + config.BlobsPrefix, token),
            async (digest, modified) =>
            {
                // Documented: an export makes a layer young before it relies on it. The store knows no condition for removals.
                if (await client.HeadAsync(config.BlobKey(digest), token).ConfigureAwait(false) is { } known && known.LastModified > modified)
                    return false;
                await client.DeleteAsync(config.BlobKey(digest), token).ConfigureAwait(false);
                return true;
            }));
    }

    private static S3Client Connect(S3Config config, CacheBackendContext context)
    {
        IAwsCredentialSource credentials = config.AccessKeyId.Length > 0 && config.SecretAccessKey.Length > 0
            ? new StaticAwsCredentials(new AwsCredentials(config.AccessKeyId, config.SecretAccessKey, config.SessionToken, null))
            : new AwsCredentialChain(context.Environment, context.Http, config.Region, context.Time);
        var protocol = new S3Protocol(credentials, config.Region, context.Time);
        var store = new StoreConnection(context.Http, protocol, TransferPolicy.Default.StartingAt(context.FirstRetry) with { Silence = config.Timeout }, context.Time);
        var given = config.EndpointUrl.Length > 0;
        var endpoint = given ? config.EndpointUrl : context.Environment("AWS_ENDPOINT_URL_S3") ?? context.Environment("AWS_ENDPOINT_URL") ?? "";
        return new S3Client(store, new S3Endpoint(config.Bucket, config.Region, endpoint, given && config.UsePathStyle), config.Bucket, new PartBuffers(BufferBytes));
    }

    private sealed class Export(S3Config config, StoreExportOptions options, S3Client client, TimeProvider time) : ICacheExportBackend
    {
        public string VertexName => "exporting cache to Amazon S3";

        public CompressionOptions Compression => options.Compression;

        public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
        {
            List<(S3Merge Merge, RecentBlobs Recent)> merges = [];
            foreach (var name in options.Merge is null ? [] : config.Names)
            {
                var merge = new S3Merge(config, client, name, time);
                var recent = new RecentBlobs(cache, (blob, token) => WriteBlobAsync(blob, progress, RecentBlobs.Young, token));
                await RemoteCacheException.WrapAsync($"error reading manifest: {name}", async () =>
                    await recent.ReplacingAsync(await merge.ReadAsync(cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
                merges.Add((merge, recent));
            }
            return await AnnotatedCache.WriteAsync(
                cache, progress, config.UploadParallelism,
                (blob, token) => WriteBlobAsync(blob, progress, merges.TrueForAll(merge => merge.Recent.IsNamed(blob.Descriptor.Digest)) ? config.TouchRefresh : RecentBlobs.Young, token),
                json => WriteConfigAsync(cache, json, merges, cancellationToken), cancellationToken).ConfigureAwait(false);
        }

        private async Task WriteConfigAsync(
            MarshalledCache cache, byte[] json, IReadOnlyList<(S3Merge Merge, RecentBlobs Recent)> merges, CancellationToken cancellationToken)
        {
            if (options.Merge is not { } limits)
            {
                foreach (var name in config.Names)
                    await RemoteCacheException.WrapAsync($"error writing manifest: {name}", () => client.PutAsync(config.ManifestKey(name), StoreBody.Of(json), cancellationToken)).ConfigureAwait(false);
                return;
            }
            foreach (var (merge, recent) in merges)
                await RemoteCacheException.WrapAsync($"error writing manifest: {merge.Name}", () => merge.JoinAsync(cache, recent, limits, cancellationToken)).ConfigureAwait(false);
        }

        /// <summary>Sends a layer, or makes it young when it is there and older than this.</summary>
        private async ValueTask WriteBlobAsync(LayerBlob blob, CacheProgress progress, TimeSpan oldest, CancellationToken cancellationToken)
        {
            var descriptor = blob.Descriptor;
            var key = config.BlobKey(descriptor.Digest);
            S3Object? there = null;
            await RemoteCacheException.WrapAsync("failed to check file presence in cache", async () => there = await client.HeadAsync(key, cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
            // Simple stores show an upload that broke off as an object: it is written again.
            if (there is { } known && !(known.Size < descriptor.Size))
            {
                if (time.GetUtcNow() - known.LastModified > (oldest < config.TouchRefresh ? oldest : config.TouchRefresh))
                    await RemoteCacheException.WrapAsync("failed to touch file", () => client.TouchAsync(key, known.Size ?? descriptor.Size, cancellationToken)).ConfigureAwait(false);
                return;
            }
            await progress.RunAsync($"writing layer {descriptor.Digest}", descriptor.Size, sent => RemoteCacheException.WrapAsync("error writing layer blob", () =>
            {
                ValueTask<Stream> OpenAsync(long offset, CancellationToken token) => OpenBlobAsync(blob, offset, token);
                // The name of a blob is the hash that the signature covers.
                return descriptor.Size < S3Client.PartSize && descriptor.Digest.Algorithm == "sha256"
                    ? client.PutAsync(key, new StoreBody(descriptor.Size, token => OpenAsync(0, token), descriptor.Digest.Hex) { Progress = sent }, cancellationToken)
                    : client.PutPartsAsync(key, OpenAsync, descriptor.Size, sent, cancellationToken);
            })).ConfigureAwait(false);
        }

        private static async ValueTask<Stream> OpenBlobAsync(LayerBlob blob, long offset, CancellationToken cancellationToken)
        {
            try
            {
                return await blob.Provider.OpenAsync(blob.Descriptor, offset, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                throw new RemoteCacheException($"error reading layer blob from provider: {e.Message}", e) { IsComplete = true };
            }
        }
    }

    private sealed class Import(S3Config config, S3Client client, TimeProvider time) : ICacheImportBackend, IBlobProvider
    {
        private const int MostReads = 4;

        public bool IsSessionBound => false;

        public string ImageRef => "";

        public IReadOnlyList<CacheMountLayer> Mounts { get; private set; } = [];

        public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
        {
            // Documented: of several names only the first is read.
            CacheConfig document;
            for (var read = 1; ; read++)
            {
                var json = await client.ReadAsync(config.ManifestKey(config.Names[0]), cancellationToken).ConfigureAwait(false);
                if (json is null)
                    return [];
                try
                {
                    document = CacheConfig.Parse(json.AsMemory(0, LengthOfObject(json)));
                    break;
                }
                catch (Exception e) when (e is FormatException or RemoteCacheException && read < MostReads)
                {
                    // Simple stores show what was written so far.
                    await ConditionalMerge.PauseAsync(read, time, cancellationToken).ConfigureAwait(false);
                }
            }
            var graph = CacheParser.Parse(document, AnnotatedCache.BlobsOf(document, this));
            Mounts = CacheMountLayer.In(document, this);
            if (document.Parts is null)
                return [graph];
            var parts = await new S3Merge(config, client, config.Names[0], time).ReadPartsAsync(document.Parts, this, cancellationToken).ConfigureAwait(false);
            Mounts = CacheMerge.Newest([.. Mounts, .. parts.SelectMany(part => CacheMountLayer.In(part.Config, this))]);
            return [CacheGraph.Normalize([.. graph, .. parts.SelectMany(part => CacheParser.Parse(part.Config, part.Blobs))])];
        }

        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            ValueTask.FromResult(client.Open(config.BlobKey(descriptor.Digest), offset, descriptor.Size));

        // Documented: whether a blob is there is believed from the config; a probe would cost a request for every layer.
        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);

        private static int LengthOfObject(byte[] json)
        {
            try
            {
                var reader = new Utf8JsonReader(json, new JsonReaderOptions { AllowMultipleValues = true });
                reader.Read();
                reader.Skip();
                var end = (int)reader.BytesConsumed;
                return json.AsSpan(end).IndexOfAnyExcept(" \t\r\n"u8) < 0 ? end : throw new RemoteCacheException("unexpected data after JSON object");
            }
            catch (JsonException e)
            {
                throw new RemoteCacheException($"invalid cache config: {e.Message}", e);
            }
        }
    }
}
