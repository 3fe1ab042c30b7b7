using System.Collections.Concurrent;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Storage.Content;

namespace BuildKit.RemoteCache.Tools;

/// <summary>A layer that cannot be used, and why.</summary>
public sealed record DamagedLayer(Descriptor Layer, string Why);

/// <summary>Reads every layer of a cache to its end and compares size and digest.</summary>
public static class CacheVerification
{
    private const int AtOnce = 4;

    /// <summary>Verifies a cache; each layer is read once, a few at a time, and nothing is kept.</summary>
    /// <param name="cache">The cache.</param>
    /// <param name="verified">Called for each layer that is intact; from any thread.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The layers that are missing or damaged.</returns>
    public static async Task<IReadOnlyList<DamagedLayer>> RunAsync(MarshalledCache cache, Action<Descriptor>? verified, CancellationToken cancellationToken)
    {
        var damaged = new ConcurrentBag<DamagedLayer>();
        await Parallel.ForEachAsync(cache.Blobs.Values, new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken }, async (blob, token) =>
        {
            try
            {
                var source = await blob.Provider.OpenAsync(blob.Descriptor, 0, token).ConfigureAwait(false);
                var verifying = new VerifyingStream(source, blob.Descriptor.Digest, blob.Descriptor.Size);
                await using (verifying.ConfigureAwait(false))
                    await verifying.CopyToAsync(Stream.Null, 1 << 17, token).ConfigureAwait(false);
                verified?.Invoke(blob.Descriptor);
            }
            catch (Exception e) when (!token.IsCancellationRequested)
            {
                damaged.Add(new DamagedLayer(blob.Descriptor, Explain(e)));
            }
        }).ConfigureAwait(false);
        return [.. damaged.OrderBy(layer => layer.Layer.Digest)];
    }

    private static string Explain(Exception error) => error switch
    {
        BlobNotFoundException or RegistryNotFoundException or FileNotFoundException or TransferException { Status: 404 } => "missing",
        InvalidDataException => "damaged: " + error.Message,
        _ => "cannot be read: " + error.Message,
    };
}
