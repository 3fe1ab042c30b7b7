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
        return Task.FromResult<ICacheExportBackend>(new Export(config, Connect(config, context), context.Time));
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
        var merge = new S3Merge(config, client, context.Time);
        return new ObjectStorePruner(token => new ObjectStoreParts(
            config.Names,
            (name, change) => merge.ReplaceAsync(name, change, token),
            () => client.ListAsync(config.Prefix + config.ManifestsPrefix, token),
            key => client.ReadAsync(key, token),
            () => client.ListAsync(config.Prefix + config.BlobsPrefix, token),
            digest => client.DeleteAsync(config.BlobKey(digest), token)));
    }

    private static S3Client Connect(S3Config config, CacheBackendContext context)
    {
        IAwsCredentialSource credentials = config.AccessKeyId.Length > 0 && config.SecretAccessKey.Length > 0
            ? new StaticAwsCredentials(new AwsCredentials(config.AccessKeyId, config.SecretAccessKey, config.SessionToken, null))
            : new AwsCredentialChain(context.Environment, context.Http, config.Region, context.Time);
        var protocol = new S3Protocol(credentials, config.Region, context.Time);
        var store = new StoreConnection(context.Http, protocol, TransferPolicy.Default with { Silence = config.Timeout }, context.Time);
        var given = config.EndpointUrl.Length > 0;
        var endpoint = given ? config.EndpointUrl : context.Environment("AWS_ENDPOINT_URL_S3") ?? context.Environment("AWS_ENDPOINT_URL") ?? "";
        return new S3Client(store, new S3Endpoint(config.Bucket, config.Region, endpoint, given && config.UsePathStyle), config.Bucket, new PartBuffers(BufferBytes));
    }

    private sealed class Export(S3Config config, S3Client client, TimeProvider time) : ICacheExportBackend
    {
        public string VertexName => "exporting cache to Amazon S3";

        public CompressionOptions Compression => config.Compression;

        public async Task<IReadOnlyDictionary<string, string>> WriteAsync(MarshalledCache cache, CacheProgress progress, CancellationToken cancellationToken)
        {
            var options = new ParallelOptions { MaxDegreeOfParallelism = config.UploadParallelism, CancellationToken = cancellationToken };
            await Parallel.ForEachAsync(AnnotatedCache.Blobs(cache), options, (blob, token) => WriteBlobAsync(blob, progress, token)).ConfigureAwait(false);
            var json = AnnotatedCache.Annotate(cache).ToJson();
            await progress.RunAsync($"writing config {Digest.Sha256(json)}", async () =>
            {
                foreach (var name in config.Names)
                {
                    await RemoteCacheException.WrapAsync($"error writing manifest: {name}", () => config.Merge is { } merge
                        ? new S3Merge(config, client, time).JoinAsync(cache, name, merge, cancellationToken)
                        : client.PutAsync(config.ManifestKey(name), StoreBody.Of(json), cancellationToken)).ConfigureAwait(false);
                }
                return true;
            }).ConfigureAwait(false);
            return new Dictionary<string, string>(StringComparer.Ordinal);
        }

        private async ValueTask WriteBlobAsync(LayerBlob blob, CacheProgress progress, CancellationToken cancellationToken)
        {
            var descriptor = blob.Descriptor;
            var key = config.BlobKey(descriptor.Digest);
            S3Object? there = null;
            await RemoteCacheException.WrapAsync("failed to check file presence in cache", async () => there = await client.HeadAsync(key, cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
            if (there is { } known)
            {
                if (time.GetUtcNow() - known.LastModified > config.TouchRefresh)
                    await RemoteCacheException.WrapAsync("failed to touch file", () => client.TouchAsync(key, known.Size, cancellationToken)).ConfigureAwait(false);
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
        public bool IsSessionBound => false;

        public string ImageRef => "";

        public IReadOnlyList<CacheMountLayer> Mounts { get; private set; } = [];

        public async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ReadAsync(CacheProgress progress, CancellationToken cancellationToken)
        {
            // Documented: of several names only the first is read.
            var json = await client.ReadAsync(config.ManifestKey(config.Names[0]), cancellationToken).ConfigureAwait(false);
            if (json is null)
                return [];
            var document = CacheConfig.Parse(json.AsMemory(0, LengthOfObject(json)));
            var graph = CacheParser.Parse(document, AnnotatedCache.BlobsOf(document, this));
            Mounts = CacheMountLayer.In(document, this);
            if (!document.HasParts)
                return [graph];
            var parts = await new S3Merge(config, client, time).ReadPartsAsync(config.Names[0], this, cancellationToken).ConfigureAwait(false);
            Mounts = CacheMerge.Newest([.. Mounts, .. parts.SelectMany(part => CacheMountLayer.In(part.Cache.Config, this))]);
            return [CacheGraph.Normalize([.. graph, .. parts.SelectMany(part => CacheParser.Parse(part.Cache.Config, part.Cache.Blobs))])];
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
