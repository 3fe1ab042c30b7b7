using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// Where cache keys, the links between them and the ids of their results are kept (spec 03 §7.2). Calls are
/// synchronous and fast; all may be made concurrently. A key exists once it has a result or takes part in a link.
/// </summary>
public interface ICacheKeyStorage
{
    /// <summary>Whether a key is known.</summary>
    bool Exists(string id);

    /// <summary>Results stored under a key.</summary>
    IReadOnlyList<CacheResultInfo> GetResults(string id);

    /// <summary>One result of a key, or null.</summary>
    CacheResultInfo? GetResult(string id, string resultId);

    /// <summary>Stores a result under a key, replacing one with the same id.</summary>
    void AddResult(string id, CacheResultInfo result);

    /// <summary>Forgets a result everywhere. Keys left with neither results nor links go too, and what lies below them
    /// is examined the same way.</summary>
    void Release(string resultId);

    /// <summary>Removes keys that have neither results nor links and that no release found: a link can be stored at the moment
    /// its target is released.</summary>
    void DropUnused()
    {
    }

    /// <summary>Keys that store a result.</summary>
    IReadOnlyList<string> GetKeysOfResult(string resultId);

    /// <summary>Ids of all stored results.</summary>
    IReadOnlyList<string> GetResultIds();

    /// <summary>Links one key to a key above it.</summary>
    void AddLink(string id, CacheLink link, string target);

    /// <summary>Keys above, over one kind of link.</summary>
    IReadOnlyList<string> GetLinks(string id, CacheLink link);

    /// <summary>Whether a link is stored.</summary>
    bool HasLink(string id, CacheLink link, string target);

    /// <summary>Keys below and the links they reach this key by, in record form: the link's digest is the record
    /// digest of the key above and its output 0.</summary>
    IReadOnlyList<CacheBacklink> GetBacklinks(string id);
}

/// <summary>How a key is reached from one of its inputs' keys.</summary>
/// <param name="Input">Index of the input.</param>
/// <param name="Output">Output of the operation.</param>
/// <param name="Digest">Digest of the operation.</param>
/// <param name="Selector">The part of the input that is used; empty for all.</param>
public readonly record struct CacheLink(int Input, int Output, Digest Digest, Digest Selector);

/// <summary>A key below and the link in record form.</summary>
public readonly record struct CacheBacklink(string Source, CacheLink Link);
