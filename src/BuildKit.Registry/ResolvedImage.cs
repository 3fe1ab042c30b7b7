using BuildKit.Oci;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry;

/// <summary>An image chosen for a platform: everything but its layers (spec 06 §9.1).</summary>
/// <param name="Root">What the reference names: an index or the manifest.</param>
/// <param name="IndexJson">The index, when the root is one.</param>
/// <param name="ManifestDescriptor">The manifest chosen.</param>
/// <param name="ManifestJson">Its bytes.</param>
/// <param name="Manifest">Its content; layers are fetched by these descriptors.</param>
/// <param name="ConfigJson">The config's bytes, unparsed.</param>
public sealed record ResolvedImage(
    Descriptor Root, ReadOnlyMemory<byte>? IndexJson, Descriptor ManifestDescriptor, ReadOnlyMemory<byte> ManifestJson, Manifest Manifest, ReadOnlyMemory<byte> ConfigJson)
{
    /// <summary>Reads index, manifest and config of an image and verifies them.</summary>
    /// <param name="source">Where the blobs are: a repository or a layout.</param>
    /// <param name="root">The root, as resolved; its media type is trusted.</param>
    /// <param name="platform">Which image of an index; a single manifest is taken for any platform.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <exception cref="RegistryNotFoundException">The index has nothing for the platform.</exception>
    /// <exception cref="InvalidDataException">A blob is not what its descriptor says.</exception>
    /// <exception cref="FormatException">A document cannot be read.</exception>
    public static async Task<ResolvedImage> ReadAsync(IBlobSource source, Descriptor root, PlatformMatcher platform, CancellationToken cancellationToken = default)
    {
        ReadOnlyMemory<byte>? indexJson = null;
        var descriptor = root;
        // Indexes may be nested; a chain of digests cannot be a circle, but it can be long.
        for (var depth = 0; ; depth++)
        {
            var json = await source.ReadVerifiedAsync(descriptor, cancellationToken: cancellationToken);
            var type = MediaTypes.IsManifest(descriptor.MediaType) || MediaTypes.IsIndex(descriptor.MediaType)
                ? descriptor.MediaType
                : ManifestContent.DetectMediaType(json);
            if (MediaTypes.IsManifest(type))
            {
                var manifest = Manifest.Parse(json);
                var config = await source.ReadVerifiedAsync(manifest.Config, cancellationToken: cancellationToken);
                return new ResolvedImage(root, indexJson, descriptor, json, manifest, config);
            }
            if (depth == 8)
                throw new FormatException($"indexes nested too deep in {root.Digest}");
            indexJson ??= json;
            descriptor = platform.Select(ImageIndex.Parse(json).Manifests) ?? throw new RegistryNotFoundException("no match for platform in manifest: not found");
        }
    }

    /// <summary>Resolves a repository's reference and reads the image, repeating on errors that may pass.</summary>
    /// <param name="repository">The repository, opened for the reference.</param>
    /// <param name="platform">Which image of an index.</param>
    /// <param name="log">Receives the lines about repetitions.</param>
    /// <param name="cancellationToken">Ends the work.</param>
    public static async Task<ResolvedImage> ResolveAsync(RegistryRepository repository, PlatformMatcher platform, Action<string>? log = null, CancellationToken cancellationToken = default)
    {
        var root = await repository.ResolveAsync(cancellationToken);
        return await repository.Retry.RunAsync(() => ReadAsync(repository, root, platform, cancellationToken), log, cancellationToken);
    }
}
