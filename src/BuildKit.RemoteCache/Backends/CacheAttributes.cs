using BuildKit.Oci;
using BuildKit.Solver;

namespace BuildKit.RemoteCache.Backends;

/// <summary>Reads the attributes of a cache export or import; error texts are part of the interface (spec 04 §5, §6).</summary>
public static class CacheAttributes
{
    /// <summary><c>max</c>, or <c>min</c> for everything else.</summary>
    public static CacheExportMode Mode(IReadOnlyDictionary<string, string> attributes) =>
        attributes.GetValueOrDefault("mode") == "max" ? CacheExportMode.Max : CacheExportMode.Min;

    /// <summary>Whether a failed export leaves the build successful; what cannot be read counts as no.</summary>
    public static bool IgnoreError(IReadOnlyDictionary<string, string> attributes) =>
        attributes.TryGetValue("ignore-error", out var text) && GoSyntax.ParseBool(text) == true;

    /// <summary>A truth value; <paramref name="fallback"/> when it is not given.</summary>
    /// <exception cref="FormatException">It is none: <c>failed to parse NAME: …</c>.</exception>
    public static bool Flag(IReadOnlyDictionary<string, string> attributes, string name, bool fallback)
    {
        if (!attributes.TryGetValue(name, out var text))
            return fallback;
        return GoSyntax.ParseBool(text) ?? throw new FormatException($"failed to parse {name}: {GoSyntax.BoolError(text)}");
    }

    /// <summary>How long an import may stay silent before the build goes on without it: <c>timeout</c>, a Go duration; what
    /// cannot be read counts as the default of 30 seconds. Object stores notice silence themselves and ask again: they are
    /// given up after several times as long.</summary>
    public static TimeSpan Patience(string type, IReadOnlyDictionary<string, string> attributes)
    {
        var given = attributes.TryGetValue("timeout", out var text) && GoDuration.TryParse(text, out var limit) && limit > TimeSpan.Zero ? limit : (TimeSpan?)null;
        if (type == "gha" && given > TimeSpan.FromMinutes(1))
            given = null; // there it limits the wait for a busy service, which does not count as silence
        return type is "registry" or "local" ? given ?? TimeSpan.FromSeconds(30) : 5 * (given ?? TimeSpan.FromMinutes(1));
    }

    /// <summary>An attribute that must be given.</summary>
    /// <exception cref="FormatException">It is missing; <paramref name="error"/> is the text.</exception>
    public static string Required(IReadOnlyDictionary<string, string> attributes, string name, string error) =>
        attributes.TryGetValue(name, out var value) && value.Length > 0 ? value : throw new FormatException(error);

    /// <summary>How long is waited for a store: <c>timeout</c>; null when it is not given.</summary>
    /// <exception cref="FormatException">It is no duration.</exception>
    public static TimeSpan? Timeout(IReadOnlyDictionary<string, string> attributes, string type)
    {
        if (!attributes.TryGetValue("timeout", out var text))
            return null;
        try
        {
            return GoDuration.Parse(text);
        }
        catch (FormatException e)
        {
            throw new FormatException($"failed to parse timeout for {type} cache: {e.Message}", e);
        }
    }
}
