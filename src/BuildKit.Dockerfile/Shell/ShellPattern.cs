using System.Text;
using System.Text.RegularExpressions;

namespace BuildKit.Dockerfile.Shell;

/// <summary>Patterns of <c>#</c>, <c>%</c> and <c>/</c>: <c>*</c> any text, <c>?</c> any character, no brackets
/// (spec 05 §3). Matching takes linear time.</summary>
internal static class ShellPattern
{
    /// <summary>Any character but a line feed; characters outside the basic plane count as one.</summary>
    private const string AnyCharacter = @"(?:[\uD800-\uDBFF][\uDC00-\uDFFF]|[^\n\uD800-\uDBFF])";

    /// <summary>Removes the shortest or longest match at the start.</summary>
    public static string RemovePrefix(string pattern, string value, bool longest)
    {
        var match = Compile(pattern, longest, anchored: true).Match(value);
        return match.Success ? value[match.Length..] : value;
    }

    /// <summary>Removes the shortest or longest match at the end.</summary>
    public static string RemoveSuffix(string pattern, string value, bool longest) =>
        Reverse(RemovePrefix(ReversePattern(pattern), Reverse(value), longest));

    /// <summary>Replaces the first longest match, or every one. When replacing all, <c>$1</c> and
    /// <c>${name}</c> in the replacement are group references.</summary>
    public static string Replace(string pattern, string value, string replacement, bool all)
    {
        var regex = Compile(pattern, longest: true, anchored: false);
        if (!all)
        {
            var first = regex.Match(value);
            return first.Success ? value[..first.Index] + replacement + value[(first.Index + first.Length)..] : value;
        }
        var result = new StringBuilder();
        var copied = 0;
        var search = 0;
        while (search <= value.Length)
        {
            var match = regex.Match(value, search);
            if (!match.Success)
                break;
            var end = match.Index + match.Length;
            result.Append(value, copied, match.Index - copied);
            if (end > copied || match.Index == 0) // no empty match right behind another match
                result.Append(Template(replacement, match.Value));
            copied = end;
            search = end > search ? end : search + 1;
        }
        return result.Append(value, copied, value.Length - copied).ToString();
    }

    private static Regex Compile(string pattern, bool longest, bool anchored)
    {
        var regex = new StringBuilder(anchored ? @"\A" : "");
        var runes = pattern.EnumerateRunes().ToArray();
        for (var i = 0; i < runes.Length; i++)
        {
            var rune = runes[i];
            switch (rune.Value)
            {
                case '*':
                    regex.Append(AnyCharacter).Append(longest ? "*" : "*?");
                    continue;
                case '?':
                    regex.Append(AnyCharacter);
                    continue;
                case '\\' when i + 1 < runes.Length && runes[i + 1].Value is '}' or '/':
                    continue;
                case '\\':
                    if (i + 1 == runes.Length || runes[i + 1].Value is not ('*' or '?' or '\\'))
                        throw new ShellSyntaxException($"invalid pattern ({pattern}) in substitution: invalid escape '\\{(i + 1 < runes.Length ? runes[i + 1].ToString() : "\uFFFD")}'");
                    rune = runes[++i];
                    break;
            }
            regex.Append(Regex.Escape(rune.ToString()));
        }
        return new Regex(regex.ToString(), RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
    }

    /// <summary>Resolves group references: <c>$0</c> is the match, every other group is empty.</summary>
    private static string Template(string replacement, string match)
    {
        var result = new StringBuilder();
        for (var i = 0; i < replacement.Length; i++)
        {
            if (replacement[i] != '$')
            {
                result.Append(replacement[i]);
                continue;
            }
            if (i + 1 < replacement.Length && replacement[i + 1] == '$')
            {
                result.Append('$');
                i++;
                continue;
            }
            var brace = i + 1 < replacement.Length && replacement[i + 1] == '{';
            var start = i + (brace ? 2 : 1);
            var end = start;
            while (end < replacement.Length && (char.IsLetterOrDigit(replacement[end]) || replacement[end] == '_'))
                end++;
            if (end == start || (brace && (end == replacement.Length || replacement[end] != '}')))
            {
                result.Append('$');
                continue;
            }
            if (replacement.AsSpan(start, end - start) is "0")
                result.Append(match);
            i = brace ? end : end - 1;
        }
        return result.ToString();
    }

    private static string Reverse(string text) => string.Concat(text.EnumerateRunes().Reverse().Select(static r => r.ToString()));

    /// <summary>Reverses a pattern but keeps each escape in front of its character.</summary>
    private static string ReversePattern(string pattern)
    {
        var parts = new List<string>();
        var runes = pattern.EnumerateRunes().ToArray();
        for (var i = 0; i < runes.Length; i++)
        {
            if (runes[i].Value == '\\' && i + 1 < runes.Length)
                parts.Add("\\" + runes[++i]);
            else
                parts.Add(runes[i].ToString());
        }
        parts.Reverse();
        return string.Concat(parts);
    }
}
