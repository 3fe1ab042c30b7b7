using BuildKit.Oci;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>An image whose documents are in the content store; they are kept until it is disposed.</summary>
/// <param name="Root">The manifest or index.</param>
/// <param name="ConfigDigest">The config of a single image; null for an index.</param>
/// <param name="Epoch">The epoch it was made with, if any.</param>
/// <param name="Blobs">Its bytes.</param>
/// <param name="Lease">Keeps what was written.</param>
internal sealed record CommittedImage(Descriptor Root, Digest? ConfigDigest, Rfc3339Time? Epoch, ImageBlobs Blobs, IDisposable Lease) : IDisposable
{
    /// <summary>The entries of the solve's answer (spec 07 §11).</summary>
    public Dictionary<string, string> Response(string names)
    {
        var response = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["containerimage.digest"] = Root.Digest.ToString(),
            ["containerimage.descriptor"] = Convert.ToBase64String(Root.ToJson()),
        };
        if (ConfigDigest is { } config)
            response["containerimage.config.digest"] = config.ToString();
        if (names.Length > 0)
            response["image.name"] = names;
        return response;
    }

    /// <inheritdoc/>
    public void Dispose() => Lease.Dispose();
}
