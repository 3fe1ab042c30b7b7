using BuildKit.Daemon.Solving;
using BuildKit.Oci;
using BuildKit.Worker.Exporters;

namespace BuildKit.Daemon.Attesting;

/// <summary>Finds what went into each result of a build (spec 07 §9.2).</summary>
/// <param name="results">All results of the build, those attestations are in as well; they are computed.</param>
/// <param name="scope">Everything the build did.</param>
/// <param name="platforms">The result's platforms.</param>
internal sealed class ResultCaptures(IReadOnlyList<LazyResult> results, CaptureScope scope, IReadOnlyList<ResultPlatform> platforms)
{
    /// <summary>What went into one result: its own operations, then what its frontend solved on the way (the Dockerfile, say) but
    /// for the other results, then the images the frontend asked about.</summary>
    /// <param name="reference">The result.</param>
    /// <param name="platform">Id of its platform; null for a result that is not keyed.</param>
    public ProvenanceCapture Of(LazyResult reference, string? platform)
    {
        var frontend = scope.ScopeOf(reference);
        var capture = Walk(reference);
        if (frontend.Request is { } request)
            capture.SetRequest(request);
        var seen = new HashSet<LazyResult>(results, ReferenceEqualityComparer.Instance);
        foreach (var other in frontend.AllResults())
        {
            if (seen.Add(other) && other.IsEvaluated)
                capture.Merge(Walk(other));
        }
        var images = frontend.AllImages();
        foreach (var image in platform is null ? images : ImagesOf(platform, images))
            capture.Add(image);
        capture.OmitPinnedTwins();
        return capture;
    }

    private static ProvenanceCapture Walk(LazyResult reference)
    {
        var capture = new ProvenanceCapture();
        foreach (var (vertex, operation) in reference.ResolvedOperations())
            capture.Add(vertex, operation);
        return capture;
    }

    /// <summary>An image that is there for every platform of the result is told only where its platform is.</summary>
    private IEnumerable<CapturedImage> ImagesOf(string id, IReadOnlyList<CapturedImage> images)
    {
        var own = platforms.FirstOrDefault(platform => platform.Id == id)?.Platform;
        var everywhere = images.Select(image => image.Reference).Distinct(StringComparer.Ordinal)
            .Where(reference => platforms.All(platform => images.Any(image =>
                image.Reference == reference && image.Platform is { } offered && PlatformMatcher.OnlyStrict(platform.Platform).Matches(offered))))
            .ToHashSet(StringComparer.Ordinal);
        return images.Where(image => !everywhere.Contains(image.Reference) || image.Platform is not { } offered
            || (own is not null && own.Os == offered.Os && own.Architecture == offered.Architecture));
    }
}
