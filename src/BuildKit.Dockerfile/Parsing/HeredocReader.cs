using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Dockerfile.Shell;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>Recognises heredoc words (spec 05 §2.5).</summary>
internal static partial class HeredocReader
{
    private static readonly ShellOptions Plain = new('\\') { SkipUnset = true };
    private static readonly ShellOptions Quoted = Plain with { RawQuotes = true };
    private static readonly ShellOptions Raw = Quoted with { RawEscapes = true };

    [GeneratedRegex(@"^([0-9]*)<<(-?)([^<]*)\z", RegexOptions.CultureInvariant)]
    private static partial Regex Form();

    [GeneratedRegex(@"(?m)^\t+", RegexOptions.CultureInvariant)]
    private static partial Regex LeadingTabs();

    /// <summary>All heredocs announced on an instruction line, without content.</summary>
    public static List<Heredoc> Find(string line)
    {
        var found = new List<Heredoc>();
        ShellExpansion expansion;
        try
        {
            expansion = ShellLexer.Expand(line, EmptyEnvironment.Instance, Raw);
        }
        catch (DockerfileException)
        {
            return found; // a line the shell lexer cannot read announces no heredoc
        }
        foreach (var word in expansion.Words)
        {
            if (Parse(word) is { } heredoc)
                found.Add(heredoc);
        }
        return found;
    }

    /// <summary>The heredoc a word announces, or null.</summary>
    public static Heredoc? Parse(string word)
    {
        var match = Form().Match(word);
        if (!match.Success || match.Groups[3].Length == 0)
            return null;
        var rest = match.Groups[3].Value;
        var words = ShellLexer.Expand(rest, EmptyEnvironment.Instance, Plain).Words;
        if (words.Count != 1)
            return null;
        var raw = ShellLexer.Expand(rest, EmptyEnvironment.Instance, Quoted).Words;
        if (raw.Count != 1)
            throw new DockerfileException($"internal lexing of heredoc produced inconsistent results: {rest}");
        _ = uint.TryParse(match.Groups[1].ValueSpan, out var descriptor);
        return new Heredoc(words[0], descriptor, Quotes(words[0]) == Quotes(raw[0]), match.Groups[2].Length > 0, "");
    }

    /// <summary>As <see cref="Parse"/>, but a word that cannot be lexed is no heredoc.</summary>
    public static Heredoc? TryParse(string word)
    {
        try
        {
            return Parse(word);
        }
        catch (DockerfileException)
        {
            return null;
        }
    }

    /// <summary>Removes the leading tabs of every line.</summary>
    public static string Chomp(string content) => LeadingTabs().Replace(content, "");

    private static int Quotes(string word)
    {
        var count = 0;
        foreach (var c in word)
        {
            if (c is '\'' or '"')
                count++;
        }
        return count;
    }
}
