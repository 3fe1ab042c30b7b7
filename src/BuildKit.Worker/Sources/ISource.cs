using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Sources;

/// <summary>One kind of source, by the scheme of its identifiers.</summary>
public interface ISource
{
    /// <summary>For example <c>docker-image</c>.</summary>
    IReadOnlyList<string> Schemes { get; }

    /// <summary>An object for one vertex. Errors: malformed identifier or attributes.</summary>
    ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform);
}

/// <summary>A source for one vertex. Calls come one at a time.</summary>
public interface ISourceInstance
{
    /// <summary>What it is for provenance.</summary>
    SourceMaterial Material { get; }

    /// <summary>Key number <paramref name="index"/>; more are asked for while nothing matched, until one is the last.</summary>
    Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken);

    /// <summary>The content; null when it is empty. The caller owns it.</summary>
    Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken);
}

/// <summary>What a source's cache key is made of (spec 03 §8.5).</summary>
/// <param name="Key">Text of the key; one that begins with <c>session:</c> is never found again.</param>
/// <param name="IsLast">No further key.</param>
public sealed record SourceKey(string Key, bool IsLast)
{
    /// <summary>What identifies the content for provenance: a digest or a commit; empty for none.</summary>
    public string Pin { get; init; } = "";

    /// <summary>Values that records found under this key may need (providers of lazy layers).</summary>
    public IReadOnlyDictionary<object, object> Options { get; init; } = new Dictionary<object, object>();
}
