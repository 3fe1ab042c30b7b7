using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>Copies between providers and stores.</summary>
public static class BlobCopy
{
    private const int BufferSize = 1 << 17;

    /// <summary>
    /// Brings a blob into a store, verified; nothing is done when it is there. An interrupted copy is resumed,
    /// and started afresh once when the bytes kept from before prove wrong.
    /// </summary>
    /// <param name="store">Where to.</param>
    /// <param name="provider">Where from.</param>
    /// <param name="descriptor">What; its size and digest are verified.</param>
    /// <param name="reference">Name of the ingest; copies with one name exclude each other.</param>
    /// <param name="labels">Labels of the new blob.</param>
    /// <param name="progress">Told the bytes there are so far.</param>
    /// <param name="cancellationToken">Stops the copy; what was copied is kept for a resume.</param>
    public static async Task FetchAsync(
        this IContentStore store, IBlobProvider provider, Descriptor descriptor, string reference,
        IReadOnlyDictionary<string, string> labels, Action<long>? progress, CancellationToken cancellationToken)
    {
        await using var writer = await store.OpenWriterAsync(reference, cancellationToken);
        if (await store.GetInfoAsync(descriptor.Digest, cancellationToken) is not null)
        {
            await writer.AbortAsync();
            return;
        }

        if (writer.Offset > descriptor.Size)
            await writer.TruncateAsync(cancellationToken);
        var buffer = new byte[BufferSize];
        if (writer.Offset < descriptor.Size || descriptor.Size == 0)
        {
            await using var source = await provider.OpenAsync(descriptor, writer.Offset, cancellationToken);
            int read;
            while ((read = await source.ReadAsync(buffer, cancellationToken)) > 0)
            {
                await writer.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                progress?.Invoke(writer.Offset);
                if (writer.Offset > descriptor.Size)
                    break;
            }
        }

        await writer.CommitAsync(descriptor.Size, descriptor.Digest, labels, cancellationToken);
    }
}
