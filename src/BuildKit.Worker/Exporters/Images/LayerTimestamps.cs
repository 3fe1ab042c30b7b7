using System.Globalization;
using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Layers.Compression;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Images;

/// <summary>Rewrites layers so that no time in them is later than the epoch (spec 07 §8).</summary>
internal sealed class LayerTimestamps(IContentStore content, ImageDocuments documents, CompressionOptions compression, Rfc3339Time epoch)
{
    private const string RewrittenAnnotation = "buildkit/rewritten-timestamp";

    private string EpochText => epoch.UnixSeconds.ToString(CultureInfo.InvariantCulture);

    /// <summary>The layers with rewritten ones in place of those that are not of the base. A layer that cannot be rewritten
    /// stays as it is; the vertex log says why.</summary>
    /// <param name="layers">Layers, bottom first.</param>
    /// <param name="baseDiffIds">Diff ids of the base image, bottom first.</param>
    /// <param name="progress">The export's vertex.</param>
    /// <param name="cancellationToken">Ends the rewriting.</param>
    public async Task<RemoteLayers> RewriteAsync(
        RemoteLayers layers, IReadOnlyList<Digest> baseDiffIds, IProgressWriter progress, CancellationToken cancellationToken)
    {
        var date = DateTime.UnixEpoch.AddSeconds(epoch.UnixSeconds).ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);
        var rewritten = layers.Descriptors.ToArray();
        using var failing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await progress.StepAsync($"rewriting layers with source-date-epoch {EpochText} ({date} +0000 UTC)", () => ParallelTasks.RunAsync(
            Enumerable.Range(BaseLayers(layers.Descriptors, baseDiffIds), layers.Descriptors.Count - BaseLayers(layers.Descriptors, baseDiffIds))
                .Select<int, Func<Task>>(i => () => RewriteAtAsync(i)),
            failing));
        return layers with { Descriptors = rewritten };

        async Task RewriteAtAsync(int i)
        {
            try
            {
                rewritten[i] = await RewriteOneAsync(layers.Descriptors[i], layers.Provider, failing.Token);
            }
            catch (Exception error) when (error is IOException or InvalidDataException or FormatException or BlobVerificationException)
            {
                // Documented: the layer is then exported with its own times.
                var text = $"failed to rewrite layer {i + 1}/{rewritten.Length} to match source-date-epoch {EpochText}: {error.Message}\n";
                progress.Write(new ProgressLog(default, 2, System.Text.Encoding.UTF8.GetBytes(text), DateTimeOffset.UtcNow));
            }
        }
    }

    private static int BaseLayers(IReadOnlyList<Descriptor> layers, IReadOnlyList<Digest> baseDiffIds) =>
        layers.Zip(baseDiffIds).TakeWhile(pair => pair.First.Annotations.GetValueOrDefault(LayerBlobWriter.UncompressedAnnotation) == pair.Second.ToString()).Count();

    private async Task<Descriptor> RewriteOneAsync(Descriptor layer, IBlobProvider provider, CancellationToken cancellationToken)
    {
        var isWantedForm = !compression.Force || MediaTypes.ConvertLayer(layer.MediaType, oci: true) == LayerBlobWriter.MediaTypeOf(compression.Type);
        if (isWantedForm && layer.Annotations.GetValueOrDefault(RewrittenAnnotation) == EpochText)
            return layer;
        var reference = $"rewrite-{layer.Digest}-{EpochText}-{Path.GetRandomFileName()}";
        await using var writer = await content.OpenWriterAsync(reference, cancellationToken);
        try
        {
            LayerBlob made;
            await using (var blob = new LayerBlobWriter(writer, compression))
            {
                await using var source = new VerifyingStream(await provider.OpenAsync(layer, 0, cancellationToken), layer.Digest, layer.Size);
                await using var plain = await LayerDecompression.OpenAsync(source, layer.MediaType, cancellationToken);
                await TarTimeClamp.CopyAsync(plain, blob, epoch.UnixSeconds, cancellationToken);
                made = await blob.CompleteAsync(cancellationToken);
            }
            var labels = new Dictionary<string, string>(StringComparer.Ordinal) { [LayerBlobWriter.UncompressedAnnotation] = made.DiffId.ToString() };
            var digest = await writer.CommitAsync(made.Size, null, labels, cancellationToken);
            documents.Keep(digest);
            return new Descriptor(made.MediaType, digest, made.Size)
            {
                Annotations = new Dictionary<string, string>(made.Annotations, StringComparer.Ordinal)
                {
                    [LayerBlobWriter.UncompressedAnnotation] = made.DiffId.ToString(),
                    [RewrittenAnnotation] = EpochText,
                },
            };
        }
        catch
        {
            await writer.AbortAsync();
            throw;
        }
    }
}
