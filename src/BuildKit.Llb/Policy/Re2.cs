using System.Text;
using System.Text.RegularExpressions;

namespace BuildKit.Llb;

/// <summary>
/// Regular expressions as policies write them, in RE2's syntax, on .NET's linear-time engine: named groups, ASCII
/// classes, POSIX classes, quoting and the meaning of <c>$</c> differ and are translated; look-around and
/// back-references exist in neither.
/// </summary>
internal static class Re2
{
    /// <exception cref="LlbException">The pattern cannot be parsed.</exception>
    public static Regex Compile(string pattern)
    {
        try
        {
            return new Regex(Translate(pattern), RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new LlbException($"error parsing regexp: `{pattern}`: {e.Message}", e);
        }
    }

    private static string Translate(string pattern)
    {
        var text = new StringBuilder();
        var inClass = false;
        for (var i = 0; i < pattern.Length; i++)
        {
            var rest = pattern.AsSpan(i);
            if (rest.StartsWith(@"\Q"))
            {
                var end = rest.IndexOf(@"\E");
                text.Append(Regex.Escape(rest[2..(end < 0 ? rest.Length : end)].ToString()));
                i += end < 0 ? rest.Length : end + 1;
            }
            else if (rest[0] == '\\' && rest.Length > 1)
            {
                text.Append(Escape(rest[1], inClass));
                i++;
            }
            else if (inClass && rest.StartsWith("[:") && rest.IndexOf(":]") is > 0 and var close)
            {
                text.Append(Posix(rest[2..close].ToString()));
                i += close + 1;
            }
            else if (!inClass && rest.StartsWith("(?P<"))
            {
                text.Append("(?<");
                i += 3;
            }
            else if (!inClass && rest[0] == '$' && !pattern.Contains("(?", StringComparison.Ordinal))
            {
                text.Append(@"\z");
            }
            else if (inClass && rest[0] == '[')
            {
                text.Append(@"\["); // .NET could take it for the start of a class subtraction
            }
            else
            {
                if (rest[0] == '[' && !inClass)
                {
                    inClass = true;
                    text.Append('[');
                    if (rest.Length > 1 && rest[1] == '^')
                    {
                        text.Append('^');
                        i++;
                    }

                    if (i + 1 < pattern.Length && pattern[i + 1] == ']')
                    {
                        text.Append(@"\]");
                        i++;
                    }

                    continue;
                }

                if (rest[0] == ']')
                    inClass = false;
                text.Append(rest[0]);
            }
        }

        return text.ToString();
    }

    private static string Escape(char c, bool inClass) => (c, inClass) switch
    {
        ('d', true) => "0-9",
        ('d', false) => "[0-9]",
        ('w', true) => "0-9A-Za-z_",
        ('w', false) => "[0-9A-Za-z_]",
        ('s', true) => @"\t\n\f\r ",
        ('s', false) => @"[\t\n\f\r ]",
        ('D', false) => "[^0-9]",
        ('W', false) => "[^0-9A-Za-z_]",
        ('S', false) => @"[^\t\n\f\r ]",
        _ => "\\" + c,
    };

    private static string Posix(string name) => name switch
    {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => @"\x00-\x7F",
        "blank" => @"\t ",
        "cntrl" => @"\x00-\x1F\x7F",
        "digit" => "0-9",
        "graph" => "!-~",
        "lower" => "a-z",
        "print" => " -~",
        "punct" => @"!-/:-@\[-`{-~",
        "space" => @"\t\n\v\f\r ",
        "upper" => "A-Z",
        "word" => "0-9A-Za-z_",
        "xdigit" => "0-9A-Fa-f",
        _ => throw new ArgumentException($"invalid character class range: `[:{name}:]`", nameof(name)),
    };
}
