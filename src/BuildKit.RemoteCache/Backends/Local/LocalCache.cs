using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.Session.Content;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Local;

/// <summary>A cache in a directory of the client, reached through its session; the daemon never sees the directory
/// (spec 04 §8.3). The client writes the directory's index after the build.</summary>
internal static class LocalCache
{
    public static async Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        // In the order in which the original complains.
        var directory = CacheAttributes.Required(attributes, "dest", "local cache exporter requires dest");
        var compression = CompressionAttributes.Read(attributes);
        var form = ManifestForm.Read(attributes);
        var target = new Target(await OpenAsync(directory, context, cancellationToken).ConfigureAwait(false));
        return new ManifestCacheExport("exporting cache to client directory", compression, form, context, target);
    }

    public static async Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var text = CacheAttributes.Required(attributes, "digest", "local cache importer requires explicit digest");
        var directory = CacheAttributes.Required(attributes, "src", "local cache importer requires src");
        var digest = Digest.Parse(text);
        var store = await OpenAsync(directory, context, cancellationToken).ConfigureAwait(false);
        var size = await store.GetSizeAsync(digest, cancellationToken).ConfigureAwait(false)
            ?? throw new RemoteCacheException($"NotFound: rpc error: code = NotFound desc = content {digest}: not found");
        var root = new Descriptor("", digest, size);
        return new ManifestCacheImport(
            _ => Task.FromResult(root), new ClientBlobs(store), isSessionBound: true, imageRef: "", new Dictionary<string, string>(StringComparer.Ordinal));
    }

    private static async Task<IClientContentStore> OpenAsync(string directory, CacheBackendContext context, CancellationToken cancellationToken) =>
        await context.OpenClientStore(ContentStores.Local(directory), cancellationToken).ConfigureAwait(false)
        ?? throw new RemoteCacheException("local cache exporter/importer requires session");

    private sealed class Target(IClientContentStore store) : IManifestTarget
    {
        public async Task WriteLayerAsync(
            Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, IProgress<long> sent, Action<string> log, CancellationToken cancellationToken)
        {
            // A file of another size is damaged; clients of this project replace it.
            if (await store.GetSizeAsync(descriptor.Digest, cancellationToken).ConfigureAwait(false) == descriptor.Size)
                return;
            var stream = new CountingStream(await open(cancellationToken).ConfigureAwait(false), sent);
            await using (stream.ConfigureAwait(false))
                await store.WriteAsync(descriptor, stream, cancellationToken).ConfigureAwait(false);
        }

        public async Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken)
        {
            if (await store.GetSizeAsync(descriptor.Digest, cancellationToken).ConfigureAwait(false) != descriptor.Size)
                await store.WriteAsync(descriptor, new MemoryStream(bytes.ToArray(), writable: false), cancellationToken).ConfigureAwait(false);
        }

        public Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken) =>
            WriteConfigAsync(descriptor, bytes, log, cancellationToken);
    }

    /// <summary>A layer that reports how much of it was read.</summary>
    private sealed class CountingStream(Stream inner, IProgress<long> progress) : ForwardStream(FileAccess.Read)
    {
        private long _count;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var count = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            progress.Report(_count += count);
            return count;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                inner.Dispose();
            base.Dispose(disposing);
        }
    }

    private sealed class ClientBlobs(IClientContentStore store) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            await store.OpenReadAsync(descriptor.Digest, offset, cancellationToken).ConfigureAwait(false);

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
