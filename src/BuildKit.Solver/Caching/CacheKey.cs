using System.Globalization;
using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>A cache key: an operation digest, an output index and the keys of its inputs (spec 03 §7).
/// Compared by object; ids are per manager.</summary>
public sealed partial class CacheKey(Digest digest, int output, IReadOnlyList<IReadOnlyList<CacheKeyWithSelector>> dependencies)
{
    /// <summary>Digest of the operation or, with output -1, of content.</summary>
    public Digest Digest { get; } = digest;

    /// <summary>Output index; -1 for content keys.</summary>
    public int Output { get; } = output;

    /// <summary>For each input, every key known for it.</summary>
    public IReadOnlyList<IReadOnlyList<CacheKeyWithSelector>> Dependencies { get; } = dependencies;

    /// <summary>A key without inputs.</summary>
    public static CacheKey Root(Digest digest, int output) => new(digest, output, []);

    /// <summary>The digest under which a key without inputs is known everywhere and a record is exported
    /// (spec 03 §7.1): the hash of <c>digest@output</c>, marked <c>random:</c> when the key must not leave this machine.</summary>
    public static Digest RecordDigest(Digest digest, int output)
    {
        var hash = Digest.Sha256(string.Create(CultureInfo.InvariantCulture, $"{digest}@{output}"));
        return digest.Algorithm == "random" ? Digest.Unchecked("random:" + hash.Hex) : hash;
    }
}

/// <summary>A result that can be loaded from a manager.</summary>
/// <param name="Id">Result id within the manager.</param>
/// <param name="CreatedAt">When it was made; the latest wins.</param>
/// <param name="Manager">The manager that can load it.</param>
/// <param name="Key">The key it is stored under.</param>
/// <param name="Priority">Breaks ties: 1 for the main manager, then 0, -1, … for imported ones in the order they were named.</param>
public sealed record CacheRecord(string Id, DateTimeOffset CreatedAt, ICacheManager Manager, CacheKey Key, int Priority);

/// <summary>A key from which cache records can be exported.</summary>
public sealed record ExportableCacheKey(CacheKey Key, ICacheExporter Exporter);
