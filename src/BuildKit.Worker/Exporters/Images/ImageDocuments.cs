using System.Globalization;
using BuildKit.Oci;
using BuildKit.Oci.Assembly;
using BuildKit.Storage.Content;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Writes the documents of an image to the content store and keeps them (spec 07 §13) until disposed.</summary>
internal sealed class ImageDocuments(IContentStore content, BlobLeases leases) : IDisposable
{
    private const string ReferencePrefix = "containerd.io/gc.ref.content.";
    private readonly List<IDisposable> _held = [];

    /// <summary>Writes one document.</summary>
    /// <param name="document">The document.</param>
    /// <param name="children">Blobs it keeps.</param>
    /// <param name="cancellationToken">Ends the writing.</param>
    public async Task WriteAsync(AssembledDocument document, IEnumerable<Digest> children, CancellationToken cancellationToken)
    {
        Keep(document.Descriptor.Digest);
        var labels = children.Select((child, i) => (Key: ReferencePrefix + i.ToString(CultureInfo.InvariantCulture), child))
            .ToDictionary(pair => pair.Key, pair => pair.child.ToString(), StringComparer.Ordinal);
        var digest = document.Descriptor.Digest;
        if (await content.GetInfoAsync(digest, cancellationToken) is not null)
        {
            await content.UpdateLabelsAsync(digest, labels, cancellationToken);
            return;
        }
        await using var writer = await content.OpenWriterAsync("export-" + digest, cancellationToken);
        await writer.TruncateAsync(cancellationToken);
        await writer.WriteAsync(document.Json, cancellationToken);
        await writer.CommitAsync(document.Json.Length, digest, labels, cancellationToken);
    }

    /// <summary>Keeps a blob.</summary>
    public void Keep(Digest digest)
    {
        lock (_held)
            _held.Add(leases.HoldTemporarily(digest));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_held)
        {
            foreach (var held in _held)
                held.Dispose();
            _held.Clear();
        }
    }
}
