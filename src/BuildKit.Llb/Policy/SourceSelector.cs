using System.Text;
using System.Text.RegularExpressions;
using BuildKit.Oci;
using BuildKit.Protocol.SourcePolicy;
using MatchType = BuildKit.Protocol.SourcePolicy.MatchType;

namespace BuildKit.Llb;

/// <summary>Which sources a rule is about, and how their identifiers are rewritten. Patterns are compiled when they
/// are first needed: a broken one only matters to sources that get as far.</summary>
internal sealed class SourceSelector(Selector selector)
{
    private Regex? _pattern;

    public string Pattern => selector.Identifier;

    public bool Matches(string identifier, IDictionary<string, string> attributes)
    {
        foreach (var constraint in selector.Constraints)
        {
            var value = attributes.TryGetValue(constraint.Key, out var found) ? found : "";
            var holds = constraint.Condition switch
            {
                AttrMatch.Equal => value == constraint.Value,
                AttrMatch.Notequal => value != constraint.Value,
                AttrMatch.Matches => AttributeMatches(constraint.Value, value),
                _ => throw new LlbException($"unknown attr condition: {(int)constraint.Condition}"),
            };
            if (!holds)
                return false;
        }

        return selector.Identifier == identifier || selector.MatchType switch
        {
            MatchType.Exact => false,
            MatchType.Regex or MatchType.Wildcard => Compiled().IsMatch(identifier),
            _ => throw new LlbException($"unknown match type: {(int)selector.MatchType}"),
        };
    }

    /// <summary>What a matching identifier becomes.</summary>
    public string Format(string identifier, string template)
    {
        switch (selector.MatchType)
        {
            case MatchType.Exact:
                return selector.Identifier;
            case MatchType.Regex:
                return Compiled().Replace(identifier, match => Expand(match, template));
            case MatchType.Wildcard:
                var whole = Compiled().Match(identifier);
                return whole.Success ? Expand(whole, template) : identifier;
            default:
                throw new LlbException($"unknown match type: {(int)selector.MatchType}");
        }
    }

    private Regex Compiled() => _pattern ??= selector.MatchType == MatchType.Regex ? Re2.Compile(selector.Identifier) : Wildcard(selector.Identifier);

    private static bool AttributeMatches(string pattern, string value)
    {
        try
        {
            return Re2.Compile(pattern).IsMatch(value);
        }
        catch (LlbException e)
        {
            throw new LlbException($"invalid regex {GoSyntax.Quote(pattern)}: {e.Message}", e);
        }
    }

    private static Regex Wildcard(string pattern)
    {
        if (pattern.Contains("**", StringComparison.Ordinal))
            throw new LlbException($"failed to translate wildcard {GoSyntax.Quote(pattern)} to regexp: invalid wildcard: \"**\"");
        var parts = pattern.Split('*').Select(Regex.Escape);
        return new Regex($@"\A{string.Join("(.*)", parts)}\z", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
    }

    /// <summary>Replaces <c>$name</c> and <c>${name}</c> by groups, <c>$$</c> by <c>$</c>. The name after a bare
    /// <c>$</c> is as long as it can be; a group that does not exist is empty.</summary>
    private static string Expand(Match match, string template)
    {
        var text = new StringBuilder();
        for (var i = 0; i < template.Length; i++)
        {
            if (template[i] != '$')
            {
                text.Append(template[i]);
                continue;
            }

            if (i + 1 < template.Length && template[i + 1] == '$')
            {
                text.Append('$');
                i++;
                continue;
            }

            var braced = i + 1 < template.Length && template[i + 1] == '{';
            var start = i + (braced ? 2 : 1);
            var end = start;
            while (end < template.Length && (char.IsAsciiLetterOrDigit(template[end]) || template[end] == '_'))
                end++;
            if (end == start || (braced && (end == template.Length || template[end] != '}')))
            {
                text.Append('$');
                continue;
            }

            text.Append(match.Groups[template[start..end]].Value);
            i = braced ? end : end - 1;
        }

        return text.ToString();
    }
}
