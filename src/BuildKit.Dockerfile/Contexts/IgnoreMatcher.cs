using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Dockerfile.Parsing;

namespace BuildKit.Dockerfile.Contexts;

/// <summary>Answers whether a path is left out by ignore patterns, as the check of COPY sources needs it. The
/// transfer of files has its own matcher.</summary>
internal sealed class IgnoreMatcher
{
    private readonly List<(Regex Expression, bool Inverted)> _patterns = [];

    /// <summary>Compiles patterns.</summary>
    /// <exception cref="DockerfileException">One is malformed.</exception>
    public IgnoreMatcher(IEnumerable<string> patterns)
    {
        foreach (var given in patterns)
        {
            var pattern = given.Trim();
            if (pattern.Length == 0)
                continue;
            pattern = Llb.SlashPath.Clean(pattern);
            var inverted = pattern[0] == '!';
            if (inverted)
            {
                if (pattern.Length == 1)
                    throw new DockerfileException("illegal exclusion pattern: \"!\"");
                pattern = pattern[1..];
            }
            try
            {
                _patterns.Add((new Regex(Translate(pattern), RegexOptions.CultureInvariant | RegexOptions.NonBacktracking), inverted));
            }
            catch (ArgumentException e)
            {
                throw new DockerfileException("syntax error in pattern", e);
            }
        }
    }

    /// <summary>Whether the path or one of its parents is matched by the last pattern that speaks of it.</summary>
    public bool Matches(string path)
    {
        var matched = false;
        var parent = Parent(path);
        var parents = parent.Split('/');
        foreach (var (expression, inverted) in _patterns)
        {
            if (inverted != matched)
                continue;
            var match = expression.IsMatch(path);
            if (!match && parent != ".")
            {
                // A pattern speaks of every directory above as well.
                for (var i = 1; !match && i <= parents.Length; i++)
                    match = expression.IsMatch(string.Join('/', parents.Take(i)));
            }
            if (match)
                matched = !inverted;
        }
        return matched;
    }

    private static string Parent(string path)
    {
        var slash = path.LastIndexOf('/');
        return slash < 0 ? "." : Llb.SlashPath.Clean(path[..(slash + 1)]);
    }

    private static string Translate(string pattern)
    {
        var expression = new StringBuilder(@"\A");
        for (var i = 0; i < pattern.Length; i++)
        {
            var c = pattern[i];
            if (c == '*' && i + 1 < pattern.Length && pattern[i + 1] == '*')
            {
                i++;
                if (i + 1 < pattern.Length && pattern[i + 1] == '/')
                    i++;
                expression.Append(i + 1 >= pattern.Length ? "[^\\n]*" : "(?:[^\\n]*/)?");
            }
            else if (c == '*')
            {
                expression.Append("[^/]*");
            }
            else if (c == '?')
            {
                expression.Append("[^/]");
            }
            else if (c == '\\' && i + 1 < pattern.Length)
            {
                expression.Append(Regex.Escape(pattern[++i].ToString()));
            }
            else if (c is '[' or ']')
            {
                expression.Append(c);
            }
            else
            {
                expression.Append(Regex.Escape(c.ToString()));
            }
        }
        return expression.Append(@"\z").ToString();
    }
}
