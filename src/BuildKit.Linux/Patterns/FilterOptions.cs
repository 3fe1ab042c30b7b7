namespace BuildKit.Linux.Patterns;

/// <summary>Which part of a tree is wanted; an absent list means no restriction of that kind (spec 01 §5.4).</summary>
/// <param name="IncludePatterns">Only what matches these, or leads to it.</param>
/// <param name="ExcludePatterns">Nothing of what matches these.</param>
/// <param name="FollowPaths">Paths whose links are resolved and which are added to the included ones.</param>
public sealed record FilterOptions(
    IReadOnlyList<string>? IncludePatterns = null,
    IReadOnlyList<string>? ExcludePatterns = null,
    IReadOnlyList<string>? FollowPaths = null)
{
    /// <summary>The whole tree.</summary>
    public static FilterOptions All { get; } = new();
}
