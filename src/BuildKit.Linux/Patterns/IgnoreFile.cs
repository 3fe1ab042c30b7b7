namespace BuildKit.Linux.Patterns;

/// <summary>Reads ignore files such as <c>.dockerignore</c> (spec 05 §8.5).</summary>
public static class IgnoreFile
{
    /// <summary>A line, without its end, must be shorter than this many bytes.</summary>
    public const int MaxLineBytes = 65536;

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>The patterns of a file, in order, exceptions with <c>!</c> in front. Malformed patterns are kept as they are.</summary>
    /// <exception cref="PatternSyntaxException">A line is too long.</exception>
    public static IReadOnlyList<string> Parse(ReadOnlySpan<byte> content)
    {
        var patterns = new List<string>();
        for (var first = true; !content.IsEmpty; first = false)
        {
            var end = content.IndexOf((byte)'\n');
            var line = end < 0 ? content : content[..end];
            content = end < 0 ? default : content[(end + 1)..];
            if (line.Length >= MaxLineBytes)
                throw new PatternSyntaxException("bufio.Scanner: token too long");
            if (line.EndsWith("\r"u8))
                line = line[..^1];
            if (first && line.StartsWith(ByteOrderMark))
                line = line[ByteOrderMark.Length..];
            if (!line.StartsWith("#"u8) && ReadPattern(LinuxText.Decode(line)) is { } pattern)
                patterns.Add(pattern);
        }
        return patterns;
    }

    private static string? ReadPattern(string line)
    {
        var pattern = line.Trim();
        if (pattern.Length == 0)
            return null;
        var isException = pattern[0] == '!';
        if (isException)
            pattern = pattern[1..].Trim();
        if (pattern.Length > 0)
        {
            pattern = UnixPath.Clean(pattern);
            if (pattern.Length > 1 && pattern[0] == '/')
                pattern = pattern[1..];
        }
        return isException ? "!" + pattern : pattern;
    }
}
