using BuildKit.Oci;
using BuildKit.RemoteCache.Backends.Manifests;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Backends.Local;

/// <summary>Joins an export with what a cache directory holds. Done by who owns the directory, while its index is locked: the
/// blobs of both are there, only the two documents are new.</summary>
public static class LocalCacheMerge
{
    private const int LargestReadable = 64 << 20;

    /// <summary>What a tag of the directory points at after an export: the export itself, or with <c>merge=true</c> its union with
    /// what the tag points at now.</summary>
    /// <param name="layout">The directory.</param>
    /// <param name="current">What the tag points at; null for nothing.</param>
    /// <param name="exported">The export; all its blobs are in the directory.</param>
    /// <param name="attributes">Attributes of the export.</param>
    /// <param name="time">Clock of the limits.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="FormatException">An attribute cannot be read.</exception>
    public static async Task<Descriptor> JoinAsync(
        OciLayout layout, Descriptor? current, Descriptor exported, IReadOnlyDictionary<string, string> attributes, TimeProvider time, CancellationToken cancellationToken)
    {
        if (MergeOptions.Read(attributes, ManifestDocument.LargestImportable) is not { } options || !layout.HasBlob(exported.Digest))
            return exported;
        var reader = new ManifestReader(new LayoutBlobProvider(layout));
        var own = await reader.ReadAsync(exported, LargestReadable, cancellationToken).ConfigureAwait(false);
        if (await reader.ReadCacheAsync(own, LargestReadable, cancellationToken).ConfigureAwait(false) is not { } mine)
            return exported;
        var theirs = current is not null && layout.HasBlob(current.Digest)
            ? await reader.ReadCacheAsync(await reader.ReadAsync(current, LargestReadable, cancellationToken).ConfigureAwait(false), LargestReadable, cancellationToken).ConfigureAwait(false)
            : null;
        var joined = await CacheMerge.JoinAsync(mine.Cache, theirs is { } there ? [there.Cache] : [], options, time.GetUtcNow(), cancellationToken).ConfigureAwait(false);
        return await WriteAsync(layout, joined, own, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Writes the documents of a cache in the form of another one; returns the manifest.</summary>
    internal static async Task<Descriptor> WriteAsync(OciLayout layout, MarshalledCache cache, ManifestCache form, CancellationToken cancellationToken)
    {
        var document = ManifestDocument.Of(cache, form.MediaType is MediaTypes.OciIndex or MediaTypes.OciManifest, form.IsImage);
        await layout.WriteBlobAsync(MediaTypes.CacheConfig, document.ConfigJson, cancellationToken).ConfigureAwait(false);
        await layout.WriteBlobAsync(document.Manifest.MediaType, document.ManifestJson, cancellationToken).ConfigureAwait(false);
        return document.Manifest;
    }
}

/// <summary>The blobs of a layout directory.</summary>
internal sealed class LayoutBlobProvider(OciLayout layout) : IBlobProvider
{
    public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        if (!layout.HasBlob(descriptor.Digest))
            throw new BlobNotFoundException(descriptor.Digest);
        var stream = layout.OpenBlob(descriptor.Digest);
        stream.Position = offset;
        return ValueTask.FromResult(stream);
    }

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult(layout.HasBlob(descriptor.Digest) ? descriptor : null);
}
