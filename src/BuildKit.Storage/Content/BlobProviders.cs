using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>Copies between providers and stores.</summary>
public static class BlobCopy
{
    // Below the size of large objects, so that it is soon collected. It is not rented: a provider that is given up may write
    // into it later.
    private const int BufferSize = 80 << 10;

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
        if (!await TryFetchAsync(store, provider, descriptor, reference, labels, progress, mayResume: true, cancellationToken))
            await TryFetchAsync(store, provider, descriptor, reference, labels, progress, mayResume: false, cancellationToken);
    }

    // False when what was resumed proved wrong.
    private static async Task<bool> TryFetchAsync(
        IContentStore store, IBlobProvider provider, Descriptor descriptor, string reference,
        IReadOnlyDictionary<string, string> labels, Action<long>? progress, bool mayResume, CancellationToken cancellationToken)
    {
        await using var writer = await store.OpenWriterAsync(reference, cancellationToken);
        if (await IsHereAsync(store, descriptor.Digest, labels, cancellationToken))
        {
            await writer.AbortAsync();
            return true;
        }

        if (!mayResume || writer.Offset > descriptor.Size)
            await writer.TruncateAsync(cancellationToken);
        var resumed = writer.Offset > 0;
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

        try
        {
            await writer.CommitAsync(descriptor.Size, descriptor.Digest, labels, cancellationToken);
            return true;
        }
        catch (BlobVerificationException) when (resumed)
        {
            return false;
        }
        catch (BlobVerificationException error)
        {
            throw new BlobVerificationException($"failed commit on ref \"{IngestName(descriptor)}\": {error.Message}");
        }
    }

    // As errors of other clients name what was being stored.
    private static string IngestName(Descriptor descriptor) => descriptor.MediaType switch
    {
        MediaTypes.OciIndex or MediaTypes.DockerManifestList => "index-",
        MediaTypes.OciManifest or MediaTypes.DockerManifest => "manifest-",
        MediaTypes.OciConfig or MediaTypes.DockerConfig => "config-",
        _ => "layer-",
    } + descriptor.Digest;

    // Touches the blob, so that a collection leaves it to its new user.
    private static async ValueTask<bool> IsHereAsync(
        IContentStore store, Digest digest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken)
    {
        if (await store.GetInfoAsync(digest, cancellationToken) is not { } info)
            return false;
        try
        {
            var missing = labels.Where(label => !info.Labels.ContainsKey(label.Key)).ToDictionary(label => label.Key, label => label.Value, StringComparer.Ordinal);
            await store.UpdateLabelsAsync(digest, missing, cancellationToken);
            return true;
        }
        catch (BlobNotFoundException)
        {
            return false;
        }
    }
}
