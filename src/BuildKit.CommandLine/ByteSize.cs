using System.Globalization;

namespace BuildKit.CommandLine;

/// <summary>Amounts of bytes as people write them: <c>512MB</c>, <c>10GiB</c>, <c>4096</c>. All units are 1024-based.</summary>
public static class ByteSize
{
    private const string Units = "kmgtp";

    /// <summary>Reads an amount; false when it is none.</summary>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        var lower = text.Trim().ToLowerInvariant();
        if (lower.EndsWith('b'))
            lower = lower[..^1];
        if (lower.EndsWith('i'))
            lower = lower[..^1];
        long factor = 1;
        if (lower.Length > 0 && Units.IndexOf(lower[^1], StringComparison.Ordinal) is var unit and >= 0)
        {
            factor = 1L << (10 * (unit + 1));
            lower = lower[..^1];
        }
        if (!double.TryParse(lower.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number))
            return false;
        bytes = (long)(number * factor);
        return true;
    }
}
