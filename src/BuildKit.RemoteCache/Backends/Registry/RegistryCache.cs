using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Transfer;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.RemoteCache.Tools;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Registry;

/// <summary>A cache in a registry repository (spec 04 §8.2).</summary>
internal static class RegistryCache
{
    private const string SourceRefAnnotation = "containerd.io/distribution.source.ref";

    public static Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var (reference, insecure) = Read(attributes);
        var silence = attributes.ContainsKey("timeout") ? CacheAttributes.Timeout(attributes, "registry") : (TimeSpan?)null;
        return Task.FromResult<ICacheExportBackend>(new ManifestCacheExport(
            "exporting cache to registry", attributes, context,
            _ => Task.FromResult<IManifestTarget>(new Target(context.Registry.Open(reference, RegistryAccess.Push, context.Credentials, insecure, silence)))));
    }

    public static Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var (reference, insecure) = Read(attributes);
        // A connection that fell silent is replaced before the import's users lose their patience.
        var repository = context.Registry.Open(reference, RegistryAccess.Pull, context.Credentials, insecure, CacheAttributes.Patience("registry", attributes) / 2);
        return Task.FromResult<ICacheImportBackend>(new ManifestCacheImport(
            token => repository.Retry.RunAsync(() => repository.ResolveAsync(token), log: null, token), new RegistryBlobs(repository), isSessionBound: false, reference.ToString(),
            new Dictionary<string, string>(StringComparer.Ordinal) { [SourceRefAnnotation] = reference.ToString() }, () => repository.IsBusy));
    }

    /// <summary>What prunes the cache of a reference.</summary>
    public static IPrunableCache OpenPruner(IReadOnlyDictionary<string, string> attributes, CacheBackendContext context)
    {
        var (reference, insecure) = Read(attributes);
        return new ManifestPruner(new Target(context.Registry.Open(reference, RegistryAccess.Push, context.Credentials, insecure)));
    }

    private static (ImageReference Reference, bool Insecure) Read(IReadOnlyDictionary<string, string> attributes)
    {
        var reference = ImageReference.ParseWithDefaultTag(CacheAttributes.Required(attributes, "ref", "missing ref"));
        return (reference, CacheAttributes.Flag(attributes, "registry.insecure", fallback: false));
    }

    private sealed class Target(RegistryRepository repository) : IJoinableTarget
    {
        private RegistryPusher Pusher => repository.Pusher!;

        public Task WriteLayerAsync(
            Descriptor descriptor, Func<CancellationToken, ValueTask<Stream>> open, IProgress<long> sent, Action<string> log, CancellationToken cancellationToken) =>
            repository.Retry.RunAsync(() => Pusher.PushBlobAsync(descriptor, open, sent, cancellationToken), log, cancellationToken);

        public Task WriteConfigAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken) =>
            repository.Retry.RunAsync(() => Pusher.PushBlobAsync(
                descriptor, _ => ValueTask.FromResult<Stream>(new MemoryStream(bytes.ToArray(), writable: false)), null, cancellationToken), log, cancellationToken);

        public Task WriteManifestAsync(Descriptor descriptor, ReadOnlyMemory<byte> bytes, Action<string> log, CancellationToken cancellationToken) =>
            repository.Retry.RunAsync(() => Pusher.PushManifestAsync(descriptor, bytes, repository.Reference.Tag, cancellationToken), log, cancellationToken);

        public string Place => repository.Reference.ToString();

        public IBlobProvider Blobs { get; } = new RegistryBlobs(repository);

        public async Task<Descriptor?> FindCurrentAsync(CancellationToken cancellationToken)
        {
            try
            {
                return await repository.Retry.RunAsync(() => repository.ResolveAsync(cancellationToken), log: null, cancellationToken).ConfigureAwait(false);
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
            await repository.Persistent.OpenAsync(descriptor, offset, cancellationToken).ConfigureAwait(false);

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }
}
