using BuildKit.Oci;

namespace BuildKit.Worker.Ops.Digests;

/// <summary>
/// What an operation contributes to cache keys, computed from its definition alone (spec 03 §8).
/// </summary>
/// <param name="Digest">Digest of what the operation does, inputs excluded.</param>
/// <param name="Inputs">One entry per vertex input.</param>
public sealed record OpKey(Digest Digest, IReadOnlyList<InputKey> Inputs)
{
    /// <summary>The bytes that were hashed; what to look at when two keys differ.</summary>
    public ReadOnlyMemory<byte> Hashed { get; init; }
}

/// <summary>How one input takes part in the key.</summary>
public sealed record InputKey
{
    /// <summary>An input that counts with its definition only.</summary>
    public static InputKey DefinitionOnly { get; } = new();

    /// <summary>Which part of the input is used; empty when that is not part of the key.</summary>
    public Digest Selector { get; init; }

    /// <summary>What of the input's content may stand for its definition; null when only the definition counts.</summary>
    public IReadOnlyList<ContentSelector>? Content { get; init; }

    /// <summary>Whether the input must be made usable before its content is read or the operation runs.</summary>
    public bool NeedsUnlazy { get; init; }
}

/// <summary>Files of an input whose content is hashed.</summary>
/// <param name="Path">Path or pattern; empty for the whole tree.</param>
/// <param name="FollowLinks">Whether a symbolic link at the path is followed.</param>
public sealed record ContentSelector(string Path, bool FollowLinks)
{
    /// <summary>Whether the path is a pattern.</summary>
    public bool Wildcard { get; init; }

    /// <summary>Only what matches.</summary>
    public IReadOnlyList<string> IncludePatterns { get; init; } = [];

    /// <summary>Nothing that matches.</summary>
    public IReadOnlyList<string> ExcludePatterns { get; init; } = [];

    internal bool IsPlain => !Wildcard && IncludePatterns.Count == 0 && ExcludePatterns.Count == 0;
}
