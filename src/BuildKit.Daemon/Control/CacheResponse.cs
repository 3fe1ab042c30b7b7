using BuildKit.Session.Content;

namespace BuildKit.Daemon.Control;

/// <summary>What one cache export told.</summary>
/// <param name="Index">Its place among the exports of the request.</param>
/// <param name="Type">Type of its backend.</param>
/// <param name="Output">What it told; empty when it failed and was to be ignored.</param>
internal sealed record WrittenCache(int Index, string Type, IReadOnlyDictionary<string, string> Output);

/// <summary>What clients are told of cache exports. The original has one key for the manifest of all of them, and its clients enter
/// that manifest into every local directory (spec 04 §8.3): with several exports there are more keys, one for each.</summary>
internal static class CacheResponse
{
    /// <summary>Adds what exports told to the answer of a build: of several the last one that went to a directory counts, else the last.
    /// Where more than one has a manifest, <c>cache.manifest.N</c> is the one of the export with that place in the request.</summary>
    public static void Add(IDictionary<string, string> response, IReadOnlyList<WrittenCache> exports)
    {
        foreach (var export in exports.OrderBy(export => export.Type == "local"))
        {
            foreach (var (key, value) in export.Output.Where(entry => entry.Key.StartsWith("cache.", StringComparison.Ordinal)))
                response[key] = value;
        }
        if (exports.Count(export => export.Type is "local" or "registry") < 2)
            return;
        foreach (var export in exports)
        {
            if (export.Output.TryGetValue(ContentStores.CacheManifestKey, out var manifest))
                response[ContentStores.CacheManifestKeyOf(export.Index)] = manifest;
        }
    }
}
