using System.Globalization;
using System.Text;

namespace BuildKit.Linux;

/// <summary>One line of <c>/proc/self/mountinfo</c>.</summary>
public sealed record MountEntry(
    int Id, int ParentId, uint Major, uint Minor, string Root, string MountPoint, string Options,
    string OptionalFields, string Type, string Source, string SuperOptions);

/// <summary>What is mounted in the process' mount namespace.</summary>
public static class MountTable
{
    /// <summary>Reads all mounts, in the kernel's order (a later mount on the same point covers an earlier one).</summary>
    public static IReadOnlyList<MountEntry> Read() => Parse(File.ReadAllBytes("/proc/self/mountinfo"));

    /// <summary>Mounts at or below a directory, deepest and latest first: the order in which to unmount them.</summary>
    public static IReadOnlyList<MountEntry> Below(string directory)
    {
        var prefix = directory.TrimEnd('/') + "/";
        return Read().Where(m => (m.MountPoint + "/").StartsWith(prefix, StringComparison.Ordinal)).Reverse().ToList();
    }

    /// <summary>Whether something is mounted exactly here.</summary>
    public static bool IsMountPoint(string path) => Read().Any(m => m.MountPoint == path);

    internal static IReadOnlyList<MountEntry> Parse(ReadOnlySpan<byte> text)
    {
        var entries = new List<MountEntry>();
        foreach (var line in LinuxText.Decode(text).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var fields = line.Split(' ');
            var separator = Array.IndexOf(fields, "-", 6);
            if (separator < 0 || fields.Length < separator + 4)
                throw new FormatException($"mountinfo line \"{line}\": expected 10 or more fields with a separating \"-\"");
            var device = fields[2].Split(':');
            entries.Add(new MountEntry(
                int.Parse(fields[0], CultureInfo.InvariantCulture), int.Parse(fields[1], CultureInfo.InvariantCulture),
                uint.Parse(device[0], CultureInfo.InvariantCulture), uint.Parse(device[1], CultureInfo.InvariantCulture),
                Unescape(fields[3]), Unescape(fields[4]), fields[5], string.Join(' ', fields[6..separator]),
                fields[separator + 1], Unescape(fields[separator + 2]), fields[separator + 3]));
        }
        return entries;
    }

    private static string Unescape(string text)
    {
        if (!text.Contains('\\', StringComparison.Ordinal))
            return text;
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 3 < text.Length && text.AsSpan(i + 1, 3).IndexOfAnyExceptInRange('0', '7') < 0)
            {
                result.Append((char)(((text[i + 1] - '0') * 64) + ((text[i + 2] - '0') * 8) + (text[i + 3] - '0')));
                i += 3;
            }
            else
            {
                result.Append(text[i]);
            }
        }
        return result.ToString();
    }
}
