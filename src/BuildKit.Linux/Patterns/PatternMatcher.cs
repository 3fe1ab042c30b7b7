namespace BuildKit.Linux.Patterns;

/// <summary>
/// A list of patterns in the language of ignore files (spec 01 §5.5): <c>**</c> crosses separators, <c>!</c>
/// makes an exception, the last match wins, and what matches a directory matches what is in it.
/// Matching is safe from several threads.
/// </summary>
public sealed class PatternMatcher
{
    private readonly Pattern[] _patterns;

    /// <summary>Reads the patterns; blank ones are dropped, others trimmed and cleaned.</summary>
    /// <exception cref="PatternSyntaxException">A pattern is malformed, or is a lone <c>!</c>.</exception>
    public PatternMatcher(IEnumerable<string> patterns)
    {
        var kept = new List<Pattern>();
        foreach (var text in patterns)
        {
            var trimmed = text.Trim();
            if (trimmed.Length == 0)
                continue;
            var cleaned = UnixPath.Clean(trimmed);
            var isException = cleaned[0] == '!';
            if (isException && cleaned.Length == 1)
                throw new PatternSyntaxException("illegal exclusion pattern: \"!\"");
            var body = isException ? cleaned[1..] : cleaned;
            _ = PathGlob.Parse(body);
            kept.Add(new Pattern(body, isException));
            HasExceptions |= isException;
        }
        _patterns = [.. kept];
    }

    /// <summary>The patterns kept, in order.</summary>
    public IReadOnlyList<Pattern> Patterns => _patterns;

    /// <summary>Whether any pattern began with <c>!</c>.</summary>
    public bool HasExceptions { get; }

    /// <summary>Tests a path and all its parents anew; used where no walk carries results along.</summary>
    /// <exception cref="PatternSyntaxException">A pattern that had to be tried turned out to be malformed.</exception>
    public bool MatchesOrParentMatches(string path)
    {
        var matched = false;
        var hasParent = UnixPath.Directory(path) != ".";
        foreach (var pattern in _patterns)
        {
            if (pattern.IsException == matched && (pattern.IsMatch(path) || (hasParent && AnyParentMatches(pattern, path))))
                matched = !pattern.IsException;
        }
        return matched;
    }

    /// <summary>
    /// Tests a path during a walk. <paramref name="parent"/> is what the call for its directory returned in
    /// <paramref name="result"/>, or the default value when there is none.
    /// </summary>
    /// <exception cref="PatternSyntaxException">A pattern that had to be tried turned out to be malformed.</exception>
    public bool Matches(string path, MatchInfo parent, out MatchInfo result)
    {
        var fromParent = parent.Matched;
        if (fromParent is { Length: > 0 } && fromParent.Length != _patterns.Length)
            throw new ArgumentException("The match result belongs to another list of patterns.", nameof(parent));
        var own = new bool[_patterns.Length];
        result = new MatchInfo(own);
        var matched = false;
        for (var i = 0; i < _patterns.Length; i++)
        {
            var pattern = _patterns[i];
            var hit = fromParent is { Length: > 0 } && fromParent[i];
            if (!hit)
            {
                // A pattern that could not change the outcome is not tried (and its errors stay unseen).
                if (pattern.IsException != matched)
                    continue;
                hit = pattern.IsMatch(path);
                if (!hit && fromParent is not { Length: > 0 } && UnixPath.Directory(path) != ".")
                    hit = AnyParentMatches(pattern, path);
            }
            own[i] = hit;
            if (hit)
                matched = !pattern.IsException;
        }
        return matched;
    }

    private static bool AnyParentMatches(Pattern pattern, string path)
    {
        var parent = UnixPath.Directory(path);
        for (var end = parent.IndexOf('/'); ; end = parent.IndexOf('/', end + 1))
        {
            if (end < 0)
                return pattern.IsMatch(parent);
            if (pattern.IsMatch(parent[..end]))
                return true;
        }
    }
}

/// <summary>Which patterns matched a directory; carried to what is in it.</summary>
public readonly struct MatchInfo
{
    internal MatchInfo(bool[] matched) => Matched = matched;

    internal bool[]? Matched { get; }
}
