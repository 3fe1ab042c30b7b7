using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Storage.Content;

namespace BuildKit.Worker.Sources.Images;

/// <summary>
/// Finds images in registries: everything but their layers. Documents named by digest are kept in the content
/// store, so that a pinned image is resolved without a network the next time.
/// </summary>
public sealed class ImageResolver(RegistryClient client, IContentStore content, RegistryCredentialsFactory credentials)
{
    private const int RememberedImages = 256;
    private readonly ConcurrentDictionary<(string Reference, Platform Platform), ResolvedImage> _pinned = new();

    /// <summary>Resolves a reference for a platform.</summary>
    /// <param name="reference">The image.</param>
    /// <param name="platform">Which image of an index.</param>
    /// <param name="sessionIds">Clients whose credentials may be used.</param>
    /// <param name="log">Receives lines about repeated requests.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public async Task<ResolvedImage> ResolveAsync(
        ImageReference reference, Platform platform, IEnumerable<string> sessionIds, Action<string>? log, CancellationToken cancellationToken)
    {
        var key = (reference.ToString(), platform);
        if (!reference.Digest.IsEmpty && _pinned.TryGetValue(key, out var known))
            return known;
        var matcher = PlatformMatcher.Only(platform);
        var repository = Open(reference, sessionIds);
        if (!reference.Digest.IsEmpty && await TryLocalAsync(reference, matcher, cancellationToken) is { } local)
            return Remember(key, local);
        var image = await ResolvedImage.ResolveAsync(repository, matcher, log, cancellationToken);
        await KeepAsync(reference, image, cancellationToken);
        return reference.Digest.IsEmpty ? Remember((reference.WithDigest(image.Root.Digest).ToString(), platform), image) : Remember(key, image);
    }

    /// <summary>The repository of a reference, for reading.</summary>
    public RegistryRepository Open(ImageReference reference, IEnumerable<string> sessionIds) =>
        client.Open(reference, RegistryAccess.Pull, credentials(sessionIds));

    private ResolvedImage Remember((string, Platform) key, ResolvedImage image)
    {
        if (_pinned.Count >= RememberedImages)
            _pinned.Clear();
        _pinned[key] = image;
        return image;
    }

    /// <summary>
    /// An image whose documents are all here and are known to come from this repository: a digest alone would let
    /// one registry's images be had under another's name, with no permission asked.
    /// </summary>
    private async Task<ResolvedImage?> TryLocalAsync(ImageReference reference, PlatformMatcher matcher, CancellationToken cancellationToken)
    {
        var root = await content.GetInfoAsync(reference.Digest, cancellationToken);
        if (root is null || !ComesFrom(root, reference))
            return null;
        try
        {
            return await ResolvedImage.ReadAsync(new LocalBlobs(content), new Descriptor("", root.Digest, root.Size), matcher, cancellationToken);
        }
        catch (Exception exception) when (exception is BlobNotFoundException or FormatException or RegistryNotFoundException)
        {
            return null;
        }
    }

    private async Task KeepAsync(ImageReference reference, ResolvedImage image, CancellationToken cancellationToken)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal) { [SourceLabel(reference)] = reference.Path };
        if (image.IndexJson is { } index)
            await KeepAsync(image.Root.Digest, index, labels, cancellationToken);
        await KeepAsync(image.ManifestDescriptor.Digest, image.ManifestJson, labels, cancellationToken);
        await KeepAsync(image.Manifest.Config.Digest, image.ConfigJson, labels, cancellationToken);
    }

    private async Task KeepAsync(Digest digest, ReadOnlyMemory<byte> bytes, Dictionary<string, string> labels, CancellationToken cancellationToken)
    {
        if (await content.GetInfoAsync(digest, cancellationToken) is { } info)
        {
            if (labels.Any(label => info.Labels.GetValueOrDefault(label.Key) != label.Value))
                await content.UpdateLabelsAsync(digest, labels, cancellationToken);
            return;
        }
        await using var writer = await content.OpenWriterAsync("document-" + digest, cancellationToken);
        await writer.TruncateAsync(cancellationToken);
        await writer.WriteAsync(bytes, cancellationToken);
        await writer.CommitAsync(bytes.Length, digest, labels, cancellationToken);
    }

    private static bool ComesFrom(BlobInfo blob, ImageReference reference) =>
        blob.Labels.TryGetValue(SourceLabel(reference), out var repositories) && repositories.Split(',').Contains(reference.Path);

    private static string SourceLabel(ImageReference reference) =>
        RegistryPusher.SourceAnnotationPrefix + RegistryPusher.HostWithoutPort(reference.Domain);

    private sealed class LocalBlobs(IContentStore content) : IBlobSource
    {
        public async Task<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            var stream = await content.OpenAsync(descriptor.Digest, cancellationToken);
            stream.Seek(offset, SeekOrigin.Begin);
            return stream;
        }
    }
}
