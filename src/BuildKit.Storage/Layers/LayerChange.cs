using BuildKit.Linux;

namespace BuildKit.Storage.Layers;

/// <summary>What happened to a path between two trees.</summary>
public enum ChangeKind
{
    /// <summary>Equal on both sides; reported for hard linked files only, which later names may refer to.</summary>
    Unmodified,
    Add,
    Modify,
    Delete,
}

/// <summary>One difference between two trees.</summary>
/// <param name="Kind">What happened.</param>
/// <param name="Path">Relative to the root, without a leading slash.</param>
/// <param name="Stat">The upper file; default for a deletion.</param>
public readonly record struct LayerChange(ChangeKind Kind, string Path, FileStat Stat);

/// <summary>Options of <see cref="LayerDiff"/>.</summary>
public sealed record LayerDiffOptions
{
    /// <summary>No special wishes.</summary>
    public static LayerDiffOptions Default { get; } = new();

    /// <summary>No entry gets a later modification time than this (SOURCE_DATE_EPOCH rewriting).</summary>
    public UnixTime? LatestMtime { get; init; }

    /// <summary>Never read the upper directory of an overlay; always compare the two trees.</summary>
    public bool ForceWalk { get; init; }

    /// <summary>Where trees are mounted while they are read; the system's directory for temporary files by default.</summary>
    public string? TempDirectory { get; init; }

    /// <summary>Told when reading the upper directory failed and the trees are compared instead.</summary>
    public Action<Exception>? OnFallback { get; init; }
}
