using BuildKit.Daemon.Solving;

namespace BuildKit.Daemon.Attesting;

/// <summary>What a frontend was called with.</summary>
/// <param name="Frontend">Its name.</param>
/// <param name="Options">Its options.</param>
/// <param name="HasInputs">Whether it was handed definitions.</param>
public sealed record FrontendRequest(string Frontend, IReadOnlyDictionary<string, string> Options, bool HasInputs);

/// <summary>
/// One call of a frontend (or the build as a whole) as provenance sees it: what it solved, which images it asked about,
/// and the frontends it called itself (spec 07 §9.2). Calls may come at the same time.
/// </summary>
/// <param name="request">The call; null for the build as a whole.</param>
public sealed class CaptureScope(FrontendRequest? request)
{
    private readonly Lock _gate = new();
    private readonly List<LazyResult> _results = [];
    private readonly List<CapturedImage> _images = [];
    private readonly List<CaptureScope> _below = [];

    /// <summary>The call; null for the build as a whole.</summary>
    public FrontendRequest? Request { get; } = request;

    /// <summary>Notes something the frontend solved.</summary>
    public void Add(LazyResult result)
    {
        lock (_gate)
            _results.Add(result);
    }

    /// <summary>Notes an image the frontend asked about.</summary>
    public void Add(CapturedImage image)
    {
        lock (_gate)
            _images.Add(image);
    }

    /// <summary>Notes a frontend that was called and returned a result.</summary>
    public void Add(CaptureScope scope)
    {
        lock (_gate)
            _below.Add(scope);
    }

    /// <summary>The innermost call that solved a result; this one when none is known.</summary>
    public CaptureScope ScopeOf(LazyResult result) => Find(result) ?? this;

    /// <summary>Everything solved here and further in, in order.</summary>
    public IReadOnlyList<LazyResult> AllResults()
    {
        lock (_gate)
            return [.. _results, .. _below.SelectMany(scope => scope.AllResults())];
    }

    /// <summary>Every image asked about here and further in, in order.</summary>
    public IReadOnlyList<CapturedImage> AllImages()
    {
        lock (_gate)
            return [.. _images, .. _below.SelectMany(scope => scope.AllImages())];
    }

    private CaptureScope? Find(LazyResult result)
    {
        lock (_gate)
            return _below.Select(scope => scope.Find(result)).FirstOrDefault(found => found is not null) ?? (_results.Contains(result) ? this : null);
    }
}
