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
    private const string SecondSuffix = ".merge";
    private const int LongestTag = 128;

    // A look that is older when it is to be acted upon is taken again.
    private static readonly TimeSpan LongestLook = TimeSpan.FromSeconds(0.5);

    public static Task<ICacheExportBackend> CreateExportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        // In the order in which the original complains.
        var compression = CompressionAttributes.Read(attributes);
        var reference = Reference(attributes);
        var form = ManifestForm.Read(attributes);
        var target = new Target(context.Registry.Open(reference, RegistryAccess.Push, context.Credentials, IsInsecure(attributes), CacheAttributes.Timeout(attributes, "registry")));
        return Task.FromResult<ICacheExportBackend>(new ManifestCacheExport("exporting cache to registry", compression, form, context, target));
    }

    public static Task<ICacheImportBackend> CreateImportAsync(
        IReadOnlyDictionary<string, string> attributes, CacheBackendContext context, CancellationToken cancellationToken)
    {
        var reference = Reference(attributes);
        // A connection that fell silent is replaced before the import's users lose their patience.
        var silence = CacheAttributes.Patience("registry", attributes) / 2;
        RegistryRepository Open(ImageReference of) => context.Registry.Open(of, RegistryAccess.Pull, context.Credentials, IsInsecure(attributes), silence);
        var repository = Open(reference);
        return Task.FromResult<ICacheImportBackend>(new ManifestCacheImport(
            token => TagReading.RunAsync(repository, () => repository.ResolveAsync(token), token), new RegistryBlobs(repository), isSessionBound: false, reference.ToString(),
            new Dictionary<string, string>(StringComparer.Ordinal) { [SourceRefAnnotation] = reference.ToString() }, () => repository.IsBusy,
            async token => reference.Tag.Length == 0 ? null : await ResolveAsync(Open(reference.WithTag(SecondTag(reference.Tag))), token).ConfigureAwait(false)));
    }

    /// <summary>The second tag of a shared cache.</summary>
    internal static string SecondTag(string tag) => tag.Length + SecondSuffix.Length <= LongestTag
        ? tag + SecondSuffix
        : $"{tag[..80]}-{Digest.Sha256(tag).Hex[..16]}{SecondSuffix}";

    private static async Task<Descriptor?> ResolveAsync(RegistryRepository repository, CancellationToken cancellationToken)
    {
        try
        {
            return await TagReading.RunAsync(repository, () => repository.ResolveAsync(cancellationToken), cancellationToken).ConfigureAwait(false);
        }
        catch (RegistryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>What prunes the cache of a reference.</summary>
    public static IPrunableCache OpenPruner(IReadOnlyDictionary<string, string> attributes, CacheBackendContext context) =>
        new ManifestPruner(new Target(context.Registry.Open(Reference(attributes), RegistryAccess.Push, context.Credentials, IsInsecure(attributes))));

    private static ImageReference Reference(IReadOnlyDictionary<string, string> attributes) =>
        ImageReference.ParseWithDefaultTag(CacheAttributes.Required(attributes, "ref", "missing ref"));

    private static bool IsInsecure(IReadOnlyDictionary<string, string> attributes) => CacheAttributes.Flag(attributes, "registry.insecure", fallback: false);

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

        public Task<Descriptor?> FindAsync(CacheTag tag, CancellationToken cancellationToken) =>
            TagReading.RunAsync(repository, () => repository.FindTagAsync(NameOf(tag), cancellationToken), cancellationToken);

        public async Task<MoveOutcome> MoveAsync(
            CacheTag tag, Descriptor manifest, ReadOnlyMemory<byte> bytes, IReadOnlyCollection<Digest> expected, long? looked, CancellationToken cancellationToken)
        {
            try
            {
                return await TagReading.RunAsync(repository, () =>
                {
                    // Repeated, it looks again: a move whose answer was lost is seen.
                    var at = looked;
                    looked = null;
                    return Pusher.MoveTagAsync(manifest, bytes, NameOf(tag), expected, LongestLook, at, cancellationToken);
                }, cancellationToken).ConfigureAwait(false) ? MoveOutcome.Moved : MoveOutcome.Changed;
            }
            catch (RegistryStatusException e) when (tag == CacheTag.Second && (int)e.StatusCode is >= 400 and < 500 and not 408 and not 429)
            {
                // Documented: a registry that takes only tags of certain forms has the main one.
                return MoveOutcome.Refused;
            }
        }

        private string NameOf(CacheTag tag) => tag == CacheTag.Main ? repository.Reference.Tag : SecondTag(repository.Reference.Tag);
    }

    /// <summary>Blobs of a repository; whether one is there is believed from its descriptor.</summary>
    private sealed class RegistryBlobs(RegistryRepository repository) : IBlobProvider
    {
        public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            MediaTypes.IsIndex(descriptor.MediaType) || MediaTypes.IsManifest(descriptor.MediaType)
                ? await TagReading.RunAsync(repository, () => ReadAsync(descriptor, offset, cancellationToken), cancellationToken).ConfigureAwait(false)
                : await repository.Persistent.OpenAsync(descriptor, offset, cancellationToken).ConfigureAwait(false);

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);

        /// <summary>A manifest, which is small, as a whole: others may be writing the same one.</summary>
        private async Task<Stream> ReadAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            var source = await repository.OpenAsync(descriptor, offset, cancellationToken).ConfigureAwait(false);
            await using (source.ConfigureAwait(false))
            {
                var bytes = new MemoryStream();
                var piece = new byte[32 * 1024];
                // What is longer than any manifest may be is refused by who reads it.
                for (int count; bytes.Length <= RegistryRepository.LargestManifest && (count = await source.ReadAsync(piece, cancellationToken).ConfigureAwait(false)) > 0;)
                    bytes.Write(piece, 0, count);
                bytes.Position = 0;
                return bytes;
            }
        }
    }
}
