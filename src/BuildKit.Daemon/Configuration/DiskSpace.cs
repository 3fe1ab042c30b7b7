using System.Globalization;
using BuildKit.CommandLine;

namespace BuildKit.Daemon.Configuration;

/// <summary>An amount of disk: bytes, or a percentage of the whole disk (spec 06 §5.1). Unset is zero.</summary>
public readonly record struct DiskSpace(long Bytes, int Percent)
{
    private const long WhenDiskIsUnknown = 2_000_000_000;

    /// <summary>Neither bytes nor percentage.</summary>
    public bool IsUnset => Bytes == 0 && Percent == 0;

    /// <summary>Reads <c>"20%"</c>, <c>"512MB"</c> (1024-based) or a number of bytes.</summary>
    /// <exception cref="FormatException">None of these.</exception>
    public static DiskSpace Parse(string text)
    {
        if (text.EndsWith('%'))
        {
            return int.TryParse(text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out var percent) && percent <= 100
                ? new DiskSpace(0, percent)
                : throw Invalid(text);
        }
        return ByteSize.TryParse(text, out var bytes) ? new DiskSpace(bytes, 0) : throw Invalid(text);
    }

    /// <summary>The amount in bytes on a disk of a size; null when the size is not known.</summary>
    public long ToBytes(long? diskSize)
    {
        if (Percent == 0)
            return Bytes;
        return diskSize is { } total ? (((total * Percent / 100) / (1L << 30)) + 1) * 1_000_000_000 : WhenDiskIsUnknown;
    }

    private static FormatException Invalid(string text) => new($"invalid size: '{text}'");
}
