namespace BuildKit.Linux.Patterns;

/// <summary>What a filter says of an entry met in a walk.</summary>
public enum FilterVerdict
{
    /// <summary>The entry is wanted (and its parents with it).</summary>
    Keep,

    /// <summary>The entry itself is not wanted; a directory may hold something that is.</summary>
    Enter,

    /// <summary>Neither the entry nor anything in it is wanted.</summary>
    Prune,
}

/// <summary>
/// Include and exclude patterns together (spec 01 §5.5). Immutable; <see cref="StartWalk"/> gives the state
/// of one walk.
/// </summary>
public sealed class PathFilter
{
    private const string PatternCharacters = "*[]?^\\";

    private readonly PatternMatcher? _include;
    private readonly PatternMatcher? _exclude;
    private readonly bool _prunesByInclude;
    private readonly bool _prunesByExclude;

    /// <summary>Reads the patterns. Empty lists restrict nothing; a list of blank include patterns matches nothing.</summary>
    /// <exception cref="PatternSyntaxException"><c>invalid includepatterns: […]: syntax error in pattern</c> and the like.</exception>
    public PathFilter(IReadOnlyList<string>? includePatterns, IReadOnlyList<string>? excludePatterns)
    {
        _include = Read("includepatterns", includePatterns);
        _exclude = Read("excludepatterns", excludePatterns);
        // Only plain prefixes can be compared with a directory to tell that nothing below it can match.
        _prunesByInclude = _include?.Patterns.All(pattern => pattern.IsException || IsPlain(pattern)) ?? false;
        _prunesByExclude = _exclude?.Patterns.All(pattern => !pattern.IsException || IsPlain(pattern)) ?? false;
    }

    /// <summary>Whether everything is kept.</summary>
    public bool KeepsEverything => _include is null && _exclude is null;

    /// <summary>
    /// Whether a single path is wanted, all its parents tested anew; where this and a walk disagree, a file is
    /// announced but its content is not given (spec 01 §5.5).
    /// </summary>
    public bool AllowsOpening(string path) =>
        (_include is null || _include.MatchesOrParentMatches(path)) && (_exclude is null || !_exclude.MatchesOrParentMatches(path));

    /// <summary>Begins a walk.</summary>
    public Walk StartWalk() => new(this);

    /// <summary>
    /// Include patterns joined with resolved follow paths (spec 01 §5.5 "Filter"): <paramref name="resolved"/>
    /// null means that follow paths are ignored. The result null means no include filter at all.
    /// </summary>
    public static IReadOnlyList<string>? JoinFollowPaths(IReadOnlyList<string>? includePatterns, IReadOnlyList<string>? resolved) =>
        resolved is null ? includePatterns : Thin([.. includePatterns ?? [], .. resolved]);

    /// <summary>Drops each path below the one kept before it; null when <c>.</c> is among them.</summary>
    public static IReadOnlyList<string>? Thin(IReadOnlyList<string> paths)
    {
        var kept = new List<string>(paths.Count);
        var last = "";
        foreach (var path in paths)
        {
            if (path == ".")
                return null;
            if (path.StartsWith(last + "/", StringComparison.Ordinal))
                continue;
            kept.Add(path);
            last = path;
        }
        return kept;
    }

    private static PatternMatcher? Read(string what, IReadOnlyList<string>? patterns)
    {
        if (patterns is null or { Count: 0 })
            return null;
        try
        {
            return new PatternMatcher(patterns);
        }
        catch (PatternSyntaxException bad)
        {
            throw new PatternSyntaxException($"invalid {what}: [{string.Join(' ', patterns)}]: {bad.Message}");
        }
    }

    private static bool IsPlain(Pattern pattern) => WithoutTrailingGlob(pattern).AsSpan().IndexOfAny(PatternCharacters) < 0;

    private static string WithoutTrailingGlob(Pattern pattern)
    {
        var text = pattern.Text;
        if (text.EndsWith("/**", StringComparison.Ordinal))
            text = text[..^3];
        return text.EndsWith("/*", StringComparison.Ordinal) ? text[..^2] : text;
    }

    private static bool AnyBelow(PatternMatcher matcher, bool exceptions, string directory)
    {
        var prefix = directory + "/";
        foreach (var pattern in matcher.Patterns)
        {
            if (pattern.IsException == exceptions && (WithoutTrailingGlob(pattern) + "/").StartsWith(prefix, StringComparison.Ordinal))
                return true;
        }
        return false;
    }

    /// <summary>The match results of the directories a walk is in. Not safe for concurrent use.</summary>
    public sealed class Walk
    {
        private readonly PathFilter _filter;
        private readonly List<Level> _parents = [];

        internal Walk(PathFilter filter) => _filter = filter;

        /// <summary>
        /// Judges the next entry; a walk must report each directory before what is in it. Entries of a pruned
        /// directory must not be reported.
        /// </summary>
        /// <exception cref="PatternSyntaxException"><c>failed to match excludepatterns: …</c> when a pattern cannot be compiled.</exception>
        public FilterVerdict Visit(string path, bool isDirectory)
        {
            if (_filter.KeepsEverything)
                return FilterVerdict.Keep;
            while (_parents.Count > 0 && !path.StartsWith(_parents[^1].Prefix, StringComparison.Ordinal))
                _parents.RemoveAt(_parents.Count - 1);
            var parent = _parents.Count > 0 ? _parents[^1] : default;
            var own = new Level(isDirectory ? path + "/" : "", default, default);
            var wanted = true;
            if (_filter._include is { } include)
            {
                var matched = Match("includepatterns", include, path, parent.Include, out var info);
                own = own with { Include = info };
                if (!matched)
                {
                    if (isDirectory && _filter._prunesByInclude && !AnyBelow(include, exceptions: false, path))
                        return FilterVerdict.Prune;
                    wanted = false;
                }
            }
            if (_filter._exclude is { } exclude)
            {
                var matched = Match("excludepatterns", exclude, path, parent.Exclude, out var info);
                own = own with { Exclude = info };
                if (matched)
                {
                    if (isDirectory && _filter._prunesByExclude && (!exclude.HasExceptions || !AnyBelow(exclude, exceptions: true, path)))
                        return FilterVerdict.Prune;
                    wanted = false;
                }
            }
            if (isDirectory)
                _parents.Add(own);
            return wanted ? FilterVerdict.Keep : FilterVerdict.Enter;
        }

        private static bool Match(string what, PatternMatcher matcher, string path, MatchInfo parent, out MatchInfo info)
        {
            try
            {
                return matcher.Matches(path, parent, out info);
            }
            catch (PatternSyntaxException bad)
            {
                throw new PatternSyntaxException($"failed to match {what}: {bad.Message}");
            }
        }

        private readonly record struct Level(string Prefix, MatchInfo Include, MatchInfo Exclude);
    }
}
