using BuildKit.Oci;
using BuildKit.Registry;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Everything an image consists of, each digest once.</summary>
/// <param name="Manifests">Manifests and indexes, parents before children.</param>
/// <param name="Blobs">Everything else.</param>
internal sealed record ImageContents(IReadOnlyList<Descriptor> Manifests, IReadOnlyList<Descriptor> Blobs)
{
    /// <summary>Reads the documents from the root down.</summary>
    public static async Task<ImageContents> CollectAsync(CommittedImage image, CancellationToken cancellationToken)
    {
        var seen = new HashSet<Digest>();
        var manifests = new List<Descriptor>();
        var blobs = new List<Descriptor>();
        await VisitAsync(image.Root);
        return new ImageContents(manifests, blobs);

        async Task VisitAsync(Descriptor descriptor)
        {
            if (!seen.Add(descriptor.Digest))
                return;
            if (!MediaTypes.IsManifest(descriptor.MediaType) && !MediaTypes.IsIndex(descriptor.MediaType))
            {
                blobs.Add(descriptor);
                return;
            }
            manifests.Add(descriptor);
            var json = await image.Blobs.ReadVerifiedAsync(descriptor, cancellationToken: cancellationToken);
            foreach (var child in ManifestContent.Children(descriptor.MediaType, json))
                await VisitAsync(child);
        }
    }
}
