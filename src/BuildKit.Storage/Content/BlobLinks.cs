using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>
/// What is remembered of a layer blob in its labels: media type, annotations, and links to its variants in other
/// compressions, in both directions (spec 06 §4.2).
/// </summary>
internal sealed class BlobLinks(FileContentStore content)
{
    public const string Uncompressed = "containerd.io/uncompressed";
    private const string LinkPrefix = "containerd.io/gc.ref.content.blob-";
    private const string ReferencePrefix = "containerd.io/gc.ref.content";
    private const string AnnotationPrefix = "buildkit.io/blob/annotation.";
    private const string MediaTypeLabel = "buildkit.io/blob/mediatype";

    private static readonly string[] KeptAnnotations =
        [Uncompressed, "containerd.io/snapshot/stargz/toc.digest", "io.containers.estargz.uncompressed-size"];

    /// <summary>The annotations worth keeping.</summary>
    public static Dictionary<string, string> Kept(IReadOnlyDictionary<string, string> annotations) =>
        annotations.Where(a => Array.IndexOf(KeptAnnotations, a.Key) >= 0).ToDictionary(a => a.Key, a => a.Value, StringComparer.Ordinal);

    /// <summary>Labels that describe a layer blob.</summary>
    public Dictionary<string, string> LabelsOf(Descriptor layer, Digest diffId)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [MediaTypeLabel] = layer.MediaType,
            [Uncompressed] = diffId.ToString(),
        };
        foreach (var (key, value) in Kept(layer.Annotations))
            labels[AnnotationPrefix + key] = value;
        return labels;
    }

    /// <summary>The descriptor of a stored layer blob; null when it is not here or was not stored as a layer.</summary>
    public async ValueTask<Descriptor?> DescribeAsync(Digest digest, CancellationToken cancellationToken)
    {
        if (await content.GetInfoAsync(digest, cancellationToken) is not { } info || !info.Labels.TryGetValue(MediaTypeLabel, out var mediaType))
            return null;
        var annotations = info.Labels
            .Where(l => l.Key.StartsWith(AnnotationPrefix, StringComparison.Ordinal))
            .ToDictionary(l => l.Key[AnnotationPrefix.Length..], l => l.Value, StringComparer.Ordinal);
        if (info.Labels.TryGetValue(Uncompressed, out var diffId))
            annotations.TryAdd(Uncompressed, diffId);
        return new Descriptor(mediaType, digest, info.Size) { Annotations = annotations };
    }

    /// <summary>Remembers that two blobs are one layer.</summary>
    public async ValueTask LinkAsync(Digest blob, Digest variant, CancellationToken cancellationToken)
    {
        if (blob == variant)
            return;
        await content.UpdateLabelsAsync(blob, Label(variant), cancellationToken);
        await content.UpdateLabelsAsync(variant, Label(blob), cancellationToken);

        static Dictionary<string, string> Label(Digest to) => new(StringComparer.Ordinal) { [LinkPrefix + to] = to.ToString() };
    }

    /// <summary>The blob and every stored variant of it, variants of variants too; the blob first.</summary>
    public async ValueTask<IReadOnlyList<Descriptor>> VariantsAsync(Digest digest, CancellationToken cancellationToken)
    {
        var found = new List<Descriptor>();
        await WalkAsync([digest], LinkPrefix, async seen =>
        {
            if (await DescribeAsync(seen, cancellationToken) is { } descriptor)
                found.Add(descriptor);
        }, cancellationToken);
        return found;
    }

    /// <summary>Everything that is kept by some blobs, themselves included.</summary>
    public async ValueTask<HashSet<Digest>> ClosureAsync(IEnumerable<Digest> roots, CancellationToken cancellationToken)
    {
        var closure = new HashSet<Digest>();
        await WalkAsync(roots, ReferencePrefix, digest =>
        {
            closure.Add(digest);
            return ValueTask.CompletedTask;
        }, cancellationToken);
        return closure;
    }

    private async ValueTask WalkAsync(IEnumerable<Digest> roots, string prefix, Func<Digest, ValueTask> visit, CancellationToken cancellationToken)
    {
        var seen = new HashSet<Digest>();
        var open = new Queue<Digest>(roots);
        while (open.TryDequeue(out var digest))
        {
            if (!seen.Add(digest) || await content.GetInfoAsync(digest, cancellationToken) is not { } info)
                continue;
            await visit(digest);
            foreach (var (key, value) in info.Labels)
            {
                if (key.StartsWith(prefix, StringComparison.Ordinal) && Digest.TryParse(value, out var next))
                    open.Enqueue(next);
            }
        }
    }
}
