using System.Text;

namespace BuildKit.Linux.Patterns;

/// <summary>
/// Shell-style patterns of one path as the reference's path package matches them: <c>*</c> and <c>?</c> do
/// not cross a separator, <c>[a-z]</c> and <c>[^a]</c> are classes, <c>\</c> takes the next character as it is.
/// </summary>
public sealed class PathGlob
{
    private readonly List<Token> _tokens;

    private PathGlob(List<Token> tokens) => _tokens = tokens;

    private enum Kind
    {
        Literal,
        Any,
        Star,
        Class,
    }

    /// <summary>Reads a pattern.</summary>
    /// <exception cref="PatternSyntaxException">A class or an escape is not finished, or a range has no end.</exception>
    public static PathGlob Parse(string pattern)
    {
        var tokens = new List<Token>();
        var at = 0;
        while (at < pattern.Length)
        {
            switch (pattern[at])
            {
                case '*':
                    at++;
                    if (tokens.Count == 0 || tokens[^1].Kind != Kind.Star)
                        tokens.Add(new Token(Kind.Star, default, null, false));
                    break;
                case '?':
                    at++;
                    tokens.Add(new Token(Kind.Any, default, null, false));
                    break;
                case '[':
                    at++;
                    tokens.Add(ReadClass(pattern, ref at));
                    break;
                case '\\' when at + 1 == pattern.Length:
                    throw new PatternSyntaxException();
                case '\\':
                    at++;
                    tokens.Add(new Token(Kind.Literal, ReadRune(pattern, ref at), null, false));
                    break;
                default:
                    tokens.Add(new Token(Kind.Literal, ReadRune(pattern, ref at), null, false));
                    break;
            }
        }
        return new PathGlob(tokens);
    }

    /// <summary>Whether the whole name matches.</summary>
    public bool IsMatch(string name)
    {
        var (token, at) = (0, 0);
        var (starToken, starAt) = (-1, 0);
        while (true)
        {
            if (token < _tokens.Count && _tokens[token].Kind == Kind.Star)
            {
                (starToken, starAt) = (++token, at);
                continue;
            }
            if (at == name.Length && token == _tokens.Count)
                return true;
            if (at < name.Length && token < _tokens.Count)
            {
                var next = at;
                var rune = ReadRune(name, ref next);
                if (_tokens[token].Accepts(rune))
                {
                    token++;
                    at = next;
                    continue;
                }
            }
            // Let the last star take one more character, if there is one that it may take.
            if (starToken < 0 || starAt >= name.Length || name[starAt] == '/')
                return false;
            _ = ReadRune(name, ref starAt);
            (token, at) = (starToken, starAt);
        }
    }

    private static Token ReadClass(string pattern, ref int at)
    {
        var negated = at < pattern.Length && pattern[at] == '^';
        if (negated)
            at++;
        var ranges = new List<(int Low, int High)>();
        while (!(at < pattern.Length && pattern[at] == ']' && ranges.Count > 0))
        {
            var low = ReadClassRune(pattern, ref at);
            var high = low;
            if (pattern[at] == '-')
            {
                at++;
                high = ReadClassRune(pattern, ref at);
            }
            ranges.Add((low, high));
        }
        at++;
        return new Token(Kind.Class, 0, ranges, negated);
    }

    // A class needs its end: whatever is read inside, something must follow.
    private static int ReadClassRune(string pattern, ref int at)
    {
        if (at == pattern.Length || pattern[at] is '-' or ']')
            throw new PatternSyntaxException();
        if (pattern[at] == '\\' && ++at == pattern.Length)
            throw new PatternSyntaxException();
        var lone = char.IsLowSurrogate(pattern[at]);
        var rune = ReadRune(pattern, ref at);
        if (lone || at == pattern.Length)
            throw new PatternSyntaxException();
        return rune;
    }

    private static int ReadRune(string text, ref int at)
    {
        if (Rune.TryGetRuneAt(text, at, out var rune))
        {
            at += rune.Utf16SequenceLength;
            return rune.Value;
        }
        return text[at++];
    }

    private readonly record struct Token(Kind Kind, int Rune, List<(int Low, int High)>? Ranges, bool Negated)
    {
        public bool Accepts(int rune)
        {
            switch (Kind)
            {
                case Kind.Literal:
                    return rune == Rune;
                case Kind.Any:
                    return rune != '/';
                default:
                    var inside = false;
                    foreach (var (low, high) in Ranges!)
                        inside |= low <= rune && rune <= high;
                    return inside != Negated;
            }
        }
    }
}
