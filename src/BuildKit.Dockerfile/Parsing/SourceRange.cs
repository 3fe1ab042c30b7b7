namespace BuildKit.Dockerfile.Parsing;

/// <summary>A part of a Dockerfile: lines count from 1, characters from 0 (spec 05 §2.1).</summary>
/// <param name="StartLine">First line.</param>
/// <param name="StartCharacter">First character on the first line.</param>
/// <param name="EndLine">Last line.</param>
/// <param name="EndCharacter">Character after the last one on the last line.</param>
public readonly record struct SourceRange(int StartLine, int StartCharacter, int EndLine, int EndCharacter)
{
    /// <summary>The range that stands for one whole line.</summary>
    public static SourceRange OfLine(int line) => new(line, 0, line, 0);

    /// <summary>One range per line from <paramref name="start"/> to <paramref name="end"/>; only the first
    /// line when the end lies before it.</summary>
    public static IReadOnlyList<SourceRange> OfLines(int start, int end)
    {
        var count = Math.Max(1, end - start + 1);
        var ranges = new SourceRange[count];
        for (var i = 0; i < count; i++)
            ranges[i] = OfLine(start + i);
        return ranges;
    }
}
