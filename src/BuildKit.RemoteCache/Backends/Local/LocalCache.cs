using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.Session.Content;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Local;

/// <summary>A cache in a directory of the client, reached through its session; the daemon never sees the directory
/// (spec 04 §8.3). The client writes the directory's index after the build.</summary>
internal static class LocalCache
{
    public static Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var directory = CacheAttributes.Required(attributes, "dest", "local cache exporter requires dest");
        return Task.FromResult<ICacheExportBackend>(new ManifestCacheExport(
            "exporting cache to client directory", attributes, context,
            async token => new Target(await context.OpenClientStore(ContentStores.Local(directory), token).ConfigureAwait(false)
                ?? throw new RemoteCacheException("local cache exporter requires session"))));
    }

    public static async Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var directory = CacheAttributes.Required(attributes, "src", "local cache importer requires src");
        var digest = Digest.Parse(CacheAttributes.Required(attributes, "digest", "local cache importer requires explicit digest"));
        var store = await context.OpenClientStore(ContentStores.Local(directory), cancellationToken).ConfigureAwait(false)
            ?? throw new RemoteCacheException("local cache importer requires session");
        var size = await store.GetSizeAsync(digest, cancellationToken).ConfigureAwait(false)
            ?? throw new RemoteCacheException($"NotFound: rpc error: code = NotFound desc = content {digest}: not found");
        var root = new Descriptor("", digest, size);
        return new ManifestCacheImport(
            _ => Task.FromResult(root), new ClientBlobs(store), isSessionBound: true, imageRef: "", new Dictionary<string, string>(StringComparer.Ordinal));
    }

    private sealed class Target(IClientContentStore store) : IManifestTarget
    {
        public async Task WriteLayerAsync(
            Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, Action<string> log, CancellationToken cancellationToken)
        {
            if (await store.GetSizeAsync(descriptor.Digest, cancellationToken).ConfigureAwait(false) is not null)
                return;
            var stream = await open(cancellationToken).ConfigureAwait(false);
            await using (stream.ConfigureAwait(false))
                await store.WriteAsync(descriptor, stream, cancellationToken).ConfigureAwait(false);
        }

        public Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
            WriteLayerAsync(descriptor, _ => ValueTask.FromResult<Stream>(new MemoryStream(bytes.ToArray(), writable: false)), _ => { }, cancellationToken);

        public Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
            WriteConfigAsync(descriptor, bytes, cancellationToken);
    }

    private sealed class ClientBlobs(IClientContentStore store) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            await store.OpenReadAsync(descriptor.Digest, offset, cancellationToken).ConfigureAwait(false);

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
