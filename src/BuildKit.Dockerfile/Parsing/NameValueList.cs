using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Dockerfile.Text;

namespace BuildKit.Dockerfile.Parsing;

/// <summary>The argument forms of <c>ENV</c>, <c>LABEL</c> and <c>ARG</c> (spec 05 §2.4).</summary>
internal static partial class NameValueList
{
    [GeneratedRegex(@"[\t\v\f\r ]+", RegexOptions.CultureInvariant)]
    private static partial Regex Blanks();

    /// <summary>Triples of name, value and separator.</summary>
    public static IReadOnlyList<string> Read(string text, string instruction, char escape)
    {
        var words = SplitWords(text, escape);
        if (words.Count == 0)
            return [];
        if (!words[0].Contains('=', StringComparison.Ordinal))
        {
            var parts = Blanks().Split(text, 2);
            return parts.Length == 2
                ? [parts[0], parts[1], ""]
                : throw new DockerfileException($"{instruction} must have two arguments");
        }
        var triples = new List<string>();
        foreach (var word in words)
        {
            var equal = word.IndexOf('=', StringComparison.Ordinal);
            if (equal < 0)
                throw new DockerfileException($"Syntax error - can't find = in {GoQuote.Quote(word)}. Must be of the form: name=value");
            triples.Add(word[..equal]);
            triples.Add(word[(equal + 1)..]);
            triples.Add("=");
        }
        return triples;
    }

    /// <summary>Words separated by white space outside quotes; quotes and escapes stay in the words.</summary>
    public static IReadOnlyList<string> SplitWords(string text, char escape)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var quoted = false;
        var quote = '\0';
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quote == '\0' && char.IsWhiteSpace(c))
            {
                Flush();
                continue;
            }
            if (c == escape && quote != '\'')
            {
                if (i + 1 == text.Length)
                    break; // an escape token at the very end is dropped
                word.Append(c);
                c = text[++i];
            }
            else if (quote == '\0' && c is '\'' or '"')
            {
                quote = c;
                quoted = true;
            }
            else if (c == quote)
            {
                quote = '\0';
            }
            word.Append(c);
        }
        Flush();
        return words;

        void Flush()
        {
            if (quoted || word.Length > 0)
                words.Add(word.ToString());
            word.Clear();
            quoted = false;
        }
    }
}
