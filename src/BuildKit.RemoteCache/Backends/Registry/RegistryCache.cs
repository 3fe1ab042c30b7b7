using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Transfer;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.RemoteCache.Tools;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;

namespace BuildKit.RemoteCache.Backends.Registry;

/// <summary>A cache in a registry repository (spec 04 §8.2).</summary>
internal static class RegistryCache
{
    private const string SourceRefAnnotation = "containerd.io/distribution.source.ref";

    public static Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        // In the order in which the original complains.
        var compression = CompressionAttributes.Read(attributes);
        var reference = Reference(attributes);
        var form = ManifestForm.Read(attributes);
        var target = new Target(context.Registry.Open(reference, RegistryAccess.Push, context.Credentials, IsInsecure(attributes)), context.Time);
        return Task.FromResult<ICacheExportBackend>(new ManifestCacheExport("exporting cache to registry", compression, form, context, target));
    }

    public static Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var reference = Reference(attributes);
        var repository = context.Registry.Open(reference, RegistryAccess.Pull, context.Credentials, IsInsecure(attributes));
        return Task.FromResult<ICacheImportBackend>(new ManifestCacheImport(
            repository.ResolveAsync, new RegistryBlobs(repository), isSessionBound: false, reference.ToString(),
            new Dictionary<string, string>(StringComparer.Ordinal) { [SourceRefAnnotation] = reference.ToString() }, () => repository.IsBusy));
    }

    /// <summary>What prunes the cache of a reference.</summary>
    public static IPrunableCache OpenPruner(IReadOnlyDictionary<string, string> attributes, CacheBackendContext context) =>
        new ManifestPruner(new Target(context.Registry.Open(Reference(attributes), RegistryAccess.Push, context.Credentials, IsInsecure(attributes)), context.Time));

    private static ImageReference Reference(IReadOnlyDictionary<string, string> attributes) =>
        ImageReference.ParseWithDefaultTag(CacheAttributes.Required(attributes, "ref", "missing ref"));

    private static bool IsInsecure(IReadOnlyDictionary<string, string> attributes) => CacheAttributes.Flag(attributes, "registry.insecure", fallback: false);

    private sealed class Target(RegistryRepository repository, TimeProvider time) : IJoinableTarget
    {
        private RegistryPusher Pusher => repository.Pusher!;

        public Task WriteLayerAsync(Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, Action<string> log, CancellationToken cancellationToken) =>
            RegistryRetry.RunAsync(() => Pusher.PushBlobAsync(descriptor, open, null, cancellationToken), log, time, cancellationToken);

        public Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
            Pusher.PushBlobAsync(descriptor, _ => ValueTask.FromResult<Stream>(new MemoryStream(bytes.ToArray(), writable: false)), null, cancellationToken);

        public Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken) =>
            Pusher.PushManifestAsync(descriptor, bytes, repository.Reference.Tag, cancellationToken);

        public string Place => repository.Reference.ToString();

        public IBlobProvider Blobs { get; } = new RegistryBlobs(repository);

        public async Task<Descriptor?> FindCurrentAsync(CancellationToken cancellationToken)
        {
            try
            {
                return await repository.ResolveAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (RegistryNotFoundException)
            {
                return null;
            }
        }
    }

    /// <summary>Blobs of a repository; whether one is there is believed from its descriptor.</summary>
    private sealed class RegistryBlobs(RegistryRepository repository) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            await repository.OpenAsync(descriptor, offset, cancellationToken).ConfigureAwait(false);

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
