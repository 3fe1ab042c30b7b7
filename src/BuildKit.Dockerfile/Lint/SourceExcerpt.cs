using System.Globalization;
using System.Text;

namespace BuildKit.Dockerfile.Lint;

/// <summary>Prints the lines around a place in a file (spec 05 §12).</summary>
public static class SourceExcerpt
{
    private const string Rule = "--------------------\n";

    /// <summary>Appends the excerpt; nothing when there are no ranges.</summary>
    /// <param name="text">Receives the excerpt.</param>
    /// <param name="filename">Name shown.</param>
    /// <param name="content">The whole file.</param>
    /// <param name="ranges">Lines marked.</param>
    public static void WriteTo(StringBuilder text, string filename, ReadOnlySpan<byte> content, IReadOnlyList<SourceRange> ranges)
    {
        if (ranges.Count == 0)
            return;
        var lines = Encoding.UTF8.GetString(content).Split('\n');
        var start = int.MaxValue;
        var end = 0;
        foreach (var range in ranges)
        {
            start = Math.Min(start, Math.Max(range.StartLine, 1));
            end = Math.Max(end, Math.Max(range.EndLine, range.StartLine));
        }
        if (start > lines.Length || end < 1)
            return;
        end = Math.Min(end, lines.Length);
        var first = start;
        var padding = start == end ? 4 : 2;
        for (var used = 0; used < padding; used++)
        {
            if (start > 1)
            {
                start--;
                used++;
            }
            if (end < lines.Length)
            {
                end++;
                used++;
            }
        }
        text.Append(CultureInfo.InvariantCulture, $"{filename}:{first}\n").Append(Rule);
        for (var line = start; line <= end; line++)
        {
            var mark = ranges.Any(r => line >= r.StartLine && line <= Math.Max(r.EndLine, r.StartLine)) ? ">>>" : "   ";
            text.Append(CultureInfo.InvariantCulture, $" {line,3} | {mark} {lines[line - 1].TrimEnd('\r')}\n");
        }
        text.Append(Rule);
    }
}
