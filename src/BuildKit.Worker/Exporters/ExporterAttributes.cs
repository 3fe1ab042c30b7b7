using System.Text;
using BuildKit.Oci;

namespace BuildKit.Worker.Exporters;

/// <summary>Reading of attribute values (spec 07 §1 "Parsing helpers", §3, §8). Errors carry the texts clients know.</summary>
internal static class ExporterAttributes
{
    private const string EpochKey = "source.date.epoch";

    /// <summary>A truth value; the empty text is an error.</summary>
    public static bool Bool(string key, string value) =>
        GoSyntax.ParseBool(value) ?? throw new FormatException($"non-bool value specified for {key}: {GoSyntax.BoolError(value)}");

    /// <summary>A truth value; the empty text is true.</summary>
    public static bool BoolOrEmpty(string key, string value) => value.Length == 0 || Bool(key, value);

    /// <summary>Value of <c>source-date-epoch</c>; null for the empty text.</summary>
    public static Rfc3339Time? Epoch(string value) => ParseEpoch("source-date-epoch", value);

    /// <summary>The epoch the frontend proposes, if any.</summary>
    public static Rfc3339Time? Epoch(IReadOnlyDictionary<string, byte[]> metadata)
    {
        if (!metadata.TryGetValue(EpochKey, out var bytes))
            return null;
        var value = Encoding.UTF8.GetString(bytes);
        try
        {
            return ParseEpoch("", value);
        }
        catch (FormatException e)
        {
            throw new FormatException($"invalid SOURCE_DATE_EPOCH from frontend: {GoSyntax.Quote(value)}: {e.Message}", e);
        }
    }

    private static Rfc3339Time? ParseEpoch(string key, string value)
    {
        if (value.Length == 0)
            return null;
        // The reference says it twice.
        return GoSyntax.ParseInt(value, out var error) is { } seconds
            ? Rfc3339Time.FromUnixSeconds(seconds)
            : throw new FormatException($"invalid {key}: {error}: {error}");
    }
}
