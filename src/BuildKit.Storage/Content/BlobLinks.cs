using BuildKit.Oci;
using BuildKit.Storage.Layers;

namespace BuildKit.Storage.Content;

/// <summary>
/// What is remembered of a layer blob in its labels: media type, annotations, and links to its variants in other
/// compressions, in both directions (spec 06 §4.2).
/// </summary>
internal sealed class BlobLinks(FileContentStore content)
{
    public const string Uncompressed = "containerd.io/uncompressed";
    private const string LinkPrefix = "containerd.io/gc.ref.content.blob-";
    internal const string ReferencePrefix = "containerd.io/gc.ref.content";
    private const string AnnotationPrefix = "buildkit.io/blob/annotation.";
    private const string SourcePrefix = "containerd.io/distribution.source.";
    private const string MediaTypeLabel = "buildkit.io/blob/mediatype";

    private static readonly string[] KeptAnnotations =
        [Uncompressed, EStargzAnnotations.TocDigest, EStargzAnnotations.UncompressedSize];

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

    /// <summary>Where a blob can be mounted from: label by registry host, a sorted list of repositories (spec 07).</summary>
    public async ValueTask<Dictionary<string, string>> SourcesAsync(Digest digest, CancellationToken cancellationToken) =>
        (await content.GetInfoAsync(digest, cancellationToken))?.Labels
            .Where(l => l.Key.StartsWith(SourcePrefix, StringComparison.Ordinal))
            .ToDictionary(l => l.Key, l => l.Value, StringComparer.Ordinal) ?? [];

    /// <summary>Adds repositories a blob came from; nothing happens when it is not here.</summary>
    public async ValueTask AddSourcesAsync(Digest digest, IReadOnlyDictionary<string, string> sources, CancellationToken cancellationToken)
    {
        var known = await SourcesAsync(digest, cancellationToken);
        var added = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, repositories) in sources)
        {
            var before = known.GetValueOrDefault(key, "");
            var all = before.Split(',').Concat(repositories.Split(',')).Where(r => r.Length > 0).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal);
            var joined = string.Join(',', all);
            if (joined != before)
                added[key] = joined;
        }

        if (added.Count == 0)
            return;
        try
        {
            await content.UpdateLabelsAsync(digest, added, cancellationToken);
        }
        catch (BlobNotFoundException)
        {
            // Not fetched yet, or gone: the labels are written when it comes.
        }
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
