using System.Text;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>
/// Writes parsed instructions as a Dockerfile that parses to the same instructions: directives, comments, each instruction on one line
/// (broken only where it would be longer than a line may be), heredocs as they were.
/// </summary>
public static class DockerfilePrinter
{
    // Room for the token and the line end below the longest line there may be.
    private const int LongestPiece = DockerfileParser.MaxLineLength - 16;

    /// <summary>The text of a Dockerfile.</summary>
    public static string Print(ParsedDockerfile dockerfile)
    {
        var text = new StringBuilder();
        foreach (var directive in dockerfile.Directives)
            text.Append("# ").Append(directive.Name).Append('=').Append(directive.Value).Append('\n');
        // An empty line ends the directives: no comment below can be taken for one.
        text.Append('\n');
        foreach (var node in dockerfile.Nodes)
        {
            foreach (var comment in node.Comments)
                text.Append(Encoding.UTF8.GetByteCount(comment) + 2 > DockerfileParser.MaxLineLength ? "#" : "# ").Append(comment).Append('\n');
            AppendLine(text, node.Original, dockerfile.EscapeToken);
            foreach (var heredoc in node.Heredocs)
                text.Append(heredoc.Content).Append(heredoc.Name).Append('\n');
        }
        return text.ToString();
    }

    private static void AppendLine(StringBuilder text, string line, char escape)
    {
        line = line.TrimStart();
        while (Encoding.UTF8.GetByteCount(line) > LongestPiece && Break(line, escape) is > 0 and var at)
        {
            text.Append(line.AsSpan(0, at)).Append(escape).Append('\n');
            line = line[at..];
        }
        text.Append(line);
        // The end of the file may have ended a line that would have gone on: one more token keeps the one that is text.
        if (line.Length == 0 || GoesOn(line, escape))
            text.Append(escape);
        text.Append('\n');
    }

    /// <summary>Whether the line's last token would be read as a continuation.</summary>
    private static bool GoesOn(string line, char escape)
    {
        var trimmed = line.AsSpan().TrimEnd(" \t");
        return trimmed is [.., var last] && last == escape && (trimmed.Length == 1 || trimmed[^2] != escape);
    }

    /// <summary>Where a long line can be broken without changing what it says: not after the token, and not before what would be a
    /// comment or an empty line. 0 when there is no such place.</summary>
    private static int Break(string line, char escape)
    {
        var at = 0;
        for (var bytes = 0; at < line.Length && bytes <= LongestPiece - 4; at++)
            bytes += line[at] < 0x80 ? 1 : 3;
        for (; at > 0; at--)
        {
            if (line[at - 1] == escape || char.IsLowSurrogate(line[at]))
                continue;
            var rest = line.AsSpan(at).TrimStart();
            if (!rest.IsEmpty && rest[0] != '#')
                return at;
        }
        return 0;
    }
}
