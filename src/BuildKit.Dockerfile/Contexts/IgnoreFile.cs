using BuildKit.Llb;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>Reads ignore files (spec 05 §8.5).</summary>
public static class IgnoreFile
{
    /// <summary>The patterns of a file in order.</summary>
    public static IReadOnlyList<string> Parse(ReadOnlySpan<byte> file)
    {
        if (file.StartsWith("\uFEFF"u8))
            file = file[3..];
        var patterns = new List<string>();
        foreach (var line in System.Text.Encoding.UTF8.GetString(file).Split('\n'))
        {
            if (line.StartsWith('#'))
                continue;
            var pattern = line.Trim();
            if (pattern.Length == 0)
                continue;
            var inverted = pattern[0] == '!';
            if (inverted)
                pattern = pattern[1..].Trim();
            if (pattern.Length > 0)
            {
                pattern = SlashPath.Clean(pattern);
                if (pattern.Length > 1 && pattern[0] == '/')
                    pattern = pattern[1..];
            }
            patterns.Add(inverted ? "!" + pattern : pattern);
        }
        return patterns;
    }
}
