using System.Text;

namespace BuildKit.Linux.Patterns;

/// <summary>One pattern of a <see cref="PatternMatcher"/>.</summary>
public sealed class Pattern
{
    private readonly Lazy<Compiled> _compiled;

    internal Pattern(string text, bool isException)
    {
        Text = text;
        IsException = isException;
        _compiled = new Lazy<Compiled>(() => Compile(text));
    }

    private enum Shape
    {
        Exact,
        Prefix,
        Suffix,
        Expression,
    }

    /// <summary>The cleaned pattern without <c>!</c>.</summary>
    public string Text { get; }

    /// <summary>Whether the pattern began with <c>!</c>.</summary>
    public bool IsException { get; }

    /// <inheritdoc/>
    public override string ToString() => Text;

    internal bool IsMatch(string path)
    {
        var compiled = _compiled.Value;
        switch (compiled.Shape)
        {
            case Shape.Exact:
                return string.Equals(path, Text, StringComparison.Ordinal);
            case Shape.Prefix:
                return path.AsSpan().StartsWith(Text.AsSpan(0, Text.Length - 2), StringComparison.Ordinal);
            case Shape.Suffix:
                var suffix = Text.AsSpan(2);
                return path.AsSpan().EndsWith(suffix, StringComparison.Ordinal)
                    || (suffix[0] == '/' && suffix[1..].SequenceEqual(path));
            default:
                return (compiled.Expression ?? throw new PatternSyntaxException()).IsMatch(path);
        }
    }

    // The language is defined by the regular expression that the reference makes of a pattern, quirks
    // included: characters of a class pass the same translation, and an escape keeps its backslash, so that
    // \d means a digit. The text is built the same way and then read by a matcher of that dialect.
    private static Compiled Compile(string pattern)
    {
        var expression = new StringBuilder("^");
        var shape = Shape.Exact;
        var at = pattern[0] == '\uFEFF' ? 1 : 0;
        for (var step = 0; at < pattern.Length; step++)
        {
            var c = pattern[at++];
            if (c == '*' && Peek(pattern, at) == '*')
            {
                at++;
                if (Peek(pattern, at) == '/')
                    at++;
                if (at < pattern.Length)
                {
                    expression.Append("(.*/)?");
                    shape = Shape.Expression;
                }
                else if (shape == Shape.Exact)
                {
                    shape = Shape.Prefix;
                }
                else
                {
                    expression.Append(".*");
                    shape = Shape.Expression;
                }
                if (step == 0)
                    shape = Shape.Suffix;
            }
            else if (c is '*' or '?')
            {
                expression.Append(c == '*' ? "[^/]*" : "[^/]");
                shape = Shape.Expression;
            }
            else if (c is '.' or '+' or '(' or ')' or '|' or '{' or '}' or '$')
            {
                expression.Append('\\').Append(c);
            }
            else if (c == '\\')
            {
                expression.Append('\\');
                if (at < pattern.Length)
                {
                    expression.Append(pattern[at++]);
                    shape = Shape.Expression;
                }
            }
            else
            {
                expression.Append(c);
                if (c is '[' or ']')
                    shape = Shape.Expression;
            }
        }
        if (shape != Shape.Expression)
            return new Compiled(shape, null);
        return new Compiled(shape, PathExpression.TryParse(expression.Append('$').ToString()));
    }

    private static int Peek(string text, int at) => at < text.Length ? text[at] : -1;

    private sealed record Compiled(Shape Shape, PathExpression? Expression);
}
