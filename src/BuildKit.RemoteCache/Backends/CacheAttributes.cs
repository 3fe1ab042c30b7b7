using System.Globalization;
using BuildKit.CommandLine;
using BuildKit.Oci;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Solver;
using BuildKit.Storage.Layers;

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
        return GoSyntax.ParseBool(text) ?? throw new FormatException($"failed to parse {name}: {InvalidBool(text)}");
    }

    /// <summary>The compression of registry and local caches.</summary>
    /// <exception cref="FormatException">One of the three attributes cannot be read.</exception>
    public static CompressionOptions Compression(IReadOnlyDictionary<string, string> attributes)
    {
        var type = attributes.TryGetValue("compression", out var name)
            ? name switch
            {
                "uncompressed" => CompressionType.Uncompressed,
                "gzip" => CompressionType.Gzip,
                "estargz" => CompressionType.EStargz,
                "zstd" => CompressionType.Zstd,
                _ => throw new FormatException($"unsupported compression type {name}"),
            }
            : CompressionType.Gzip;
        var force = false;
        if (attributes.TryGetValue("force-compression", out var forced))
            force = forced.Length == 0 || (GoSyntax.ParseBool(forced) ?? throw new FormatException($"non-bool value {forced} specified for force-compression: {InvalidBool(forced)}"));
        int? level = null;
        if (attributes.TryGetValue("compression-level", out var number))
        {
            level = int.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed)
                ? parsed
                : throw new FormatException(
                    $"non-integer value {number} specified for compression-level: strconv.ParseInt: parsing {GoSyntax.Quote(number)}: invalid syntax");
        }
        return new CompressionOptions(type, level, force);
    }

    /// <summary>How long an import may stay silent before the build goes on without it: <c>timeout</c>, a Go duration; what
    /// cannot be read counts as the default of 30 seconds. Object stores notice silence themselves and ask again: they are
    /// given up after several times as long.</summary>
    public static TimeSpan Patience(string type, IReadOnlyDictionary<string, string> attributes)
    {
        var given = attributes.TryGetValue("timeout", out var text) && GoDuration.TryParse(text, out var limit) && limit > TimeSpan.Zero ? limit : (TimeSpan?)null;
        return type is "registry" or "local" ? given ?? TimeSpan.FromSeconds(30) : 5 * (given ?? TimeSpan.FromMinutes(1));
    }

    /// <summary>An attribute that must be given.</summary>
    /// <exception cref="FormatException">It is missing; <paramref name="error"/> is the text.</exception>
    public static string Required(IReadOnlyDictionary<string, string> attributes, string name, string error) =>
        attributes.TryGetValue(name, out var value) && value.Length > 0 ? value : throw new FormatException(error);

    /// <summary>How long a store may be silent before a connection counts as broken; one minute when it is not given.</summary>
    /// <exception cref="FormatException">It is no duration above zero.</exception>
    public static TimeSpan Timeout(IReadOnlyDictionary<string, string> attributes, string type)
    {
        if (!attributes.TryGetValue("timeout", out var text))
            return TransferPolicy.Default.Silence;
        if (!GoDuration.TryParse(text, out var timeout))
            throw new FormatException($"failed to parse timeout for {type} cache: time: invalid duration {GoSyntax.Quote(text)}");
        return timeout > TimeSpan.Zero ? timeout : throw new FormatException($"failed to parse timeout for {type} cache: {text} is not above zero");
    }

    private static string InvalidBool(string text) => $"strconv.ParseBool: parsing {GoSyntax.Quote(text)}: invalid syntax";
}
