using BuildKit.Linux.Patterns;
using FsCheck;
using FsCheck.Fluent;

namespace BuildKit.Tests.Linux.Patterns;

public sealed class PatternMatcherPropertyTests
{
    [Fact]
    public void A_pattern_matches_what_a_naive_reading_of_the_rules_matches()
    {
        var patterns = Gen.Elements("a", "b", ".", "/", "*", "?", "**").ArrayOf().Select(string.Concat);
        var paths = Gen.Elements("a", "b", ".c", "ab", "a.b").NonEmptyListOf().Select(parts => string.Join('/', parts.Take(4)));
        Prop.ForAll(patterns.ToArbitrary(), paths.ToArbitrary(), (pattern, path) =>
        {
            if (pattern.Trim().Length == 0)
                return true;
            var cleaned = UnixPath.Clean(pattern);
            var expected = Prefixes(path).Any(prefix => Matches(cleaned, prefix));
            return new PatternMatcher([pattern]).MatchesOrParentMatches(path) == expected;
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));
    }

    [Fact]
    public void Clean_is_idempotent_and_agrees_with_IsClean()
    {
        var paths = Gen.Elements("a", "bc", ".", "..", "/", "//").ArrayOf().Select(string.Concat);
        Prop.ForAll(paths.ToArbitrary(), path =>
        {
            var cleaned = UnixPath.Clean(path);
            return UnixPath.Clean(cleaned) == cleaned && UnixPath.IsClean(cleaned) && UnixPath.IsClean(path) == (path == cleaned);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(2000));
    }

    private static IEnumerable<string> Prefixes(string path)
    {
        for (var slash = path.IndexOf('/'); slash >= 0; slash = path.IndexOf('/', slash + 1))
            yield return path[..slash];
        yield return path;
    }

    private static bool Matches(string pattern, string path)
    {
        // "**" in front of plain text is a suffix test, which needs no separator before the text.
        if (pattern.StartsWith("**", StringComparison.Ordinal) && pattern.AsSpan(2).IndexOfAny("*?") < 0)
            return path.EndsWith(pattern[2..], StringComparison.Ordinal) || pattern[2..] == "/" + path;
        return Matches(pattern, 0, path, 0);
    }

    private static bool Matches(string pattern, int i, string path, int j)
    {
        if (i == pattern.Length)
            return j == path.Length;
        if (string.CompareOrdinal(pattern, i, "**", 0, 2) == 0)
        {
            var next = i + 2 < pattern.Length && pattern[i + 2] == '/' ? i + 3 : i + 2;
            if (next == pattern.Length || Matches(pattern, next, path, j))
                return true;
            for (var slash = path.IndexOf('/', j); slash >= 0; slash = path.IndexOf('/', slash + 1))
            {
                if (Matches(pattern, next, path, slash + 1))
                    return true;
            }
            return false;
        }
        if (pattern[i] == '*')
            return Matches(pattern, i + 1, path, j) || (j < path.Length && path[j] != '/' && Matches(pattern, i, path, j + 1));
        return j < path.Length && (pattern[i] == '?' ? path[j] != '/' : pattern[i] == path[j]) && Matches(pattern, i + 1, path, j + 1);
    }
}
