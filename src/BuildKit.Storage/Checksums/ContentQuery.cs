using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using BuildKit.Oci;

namespace BuildKit.Storage.Checksums;

/// <summary>What a digest is wanted of.</summary>
/// <param name="FollowLinks">A symlink in the last component counts as what it points to.</param>
/// <param name="Wildcard">The path may hold <c>*</c>, <c>?</c> and <c>[…]</c>.</param>
public sealed record ChecksumOptions(bool FollowLinks = false, bool Wildcard = false)
{
    /// <summary>Only what matches; empty for everything.</summary>
    public IReadOnlyList<string> IncludePatterns { get; init; } = [];

    /// <summary>Nothing of what matches.</summary>
    public IReadOnlyList<string> ExcludePatterns { get; init; } = [];
}

/// <summary>The path of a content digest does not exist.</summary>
public sealed class ContentNotFoundException(string message) : IOException(message);

/// <summary>Answers questions on a content tree (spec 03 §10.3, §10.4).</summary>
internal sealed class ContentQuery(ContentTree tree, DiskAccess disk)
{
    internal async ValueTask<Digest> ComputeAsync(string path, ChecksumOptions options, CancellationToken cancellationToken) =>
        options.Wildcard || options.IncludePatterns.Count > 0 || options.ExcludePatterns.Count > 0
            ? await FilteredAsync(path, options, cancellationToken).ConfigureAwait(false)
            : await PlainAsync(path, options.FollowLinks, cancellationToken).ConfigureAwait(false);

    /// <summary>Adds to a list what the digest of the same question was made of.</summary>
    internal async ValueTask ListAsync(string path, ChecksumOptions options, ContentListing list, CancellationToken cancellationToken)
    {
        if (options.Wildcard || options.IncludePatterns.Count > 0 || options.ExcludePatterns.Count > 0)
        {
            foreach (var entry in (await WalkAsync(path, options, cancellationToken).ConfigureAwait(false)).Emitted)
            {
                list.Add(entry.Shown, entry.Node);
                if (options.FollowLinks && entry.IsSymlink && await tree.ResolveAsync(entry.Shown, followLast: true, disk).ConfigureAwait(false) is { Node: { } target } followed)
                    list.AddTree(followed.Path, target);
            }
            return;
        }
        var (node, resolved) = await tree.ResolveAsync(path, options.FollowLinks, disk).ConfigureAwait(false);
        if (node is not null)
            list.AddTree(resolved, node);
    }

    private async ValueTask<Digest> PlainAsync(string path, bool followLinks, CancellationToken cancellationToken)
    {
        var (node, resolved) = await tree.ResolveAsync(path, followLinks, disk).ConfigureAwait(false);
        if (node is null)
            throw new ContentNotFoundException($"\"{UnixPath.Clean("/" + path).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\": not found");
        return await tree.DigestAsync(node, resolved, disk, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<Digest> FilteredAsync(string path, ChecksumOptions options, CancellationToken cancellationToken)
    {
        var walk = await WalkAsync(path, options, cancellationToken).ConfigureAwait(false);
        return await JoinAsync(walk.Emitted, walk.Wanted, options.FollowLinks, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask<Walk> WalkAsync(string path, ChecksumOptions options, CancellationToken cancellationToken)
    {
        var endsInSeparator = path.EndsWith('/');
        var wanted = UnixPath.Clean("/" + path);
        if (wanted == "/")
            wanted = "";
        var walk = new Walk(options, wanted, endsInSeparator);
        var prefix = wanted;
        var more = false;
        if (options.Wildcard)
            (prefix, more) = SplitWildcard(wanted);
        var (start, resolved) = await tree.ResolveAsync(prefix, more, disk).ConfigureAwait(false);
        if (start is not null)
            await VisitAsync(walk, start, resolved, prefix, cancellationToken).ConfigureAwait(false);
        return walk;
    }

    /// <summary>Leading components without pattern characters, and whether components follow them.</summary>
    private static (string Prefix, bool More) SplitWildcard(string path)
    {
        var end = path.AsSpan().IndexOfAny('*', '?', '[');
        return end < 0 ? (path, false) : (path[..path.LastIndexOf('/', end)], true);
    }

    /// <param name="walk">State of the walk.</param>
    /// <param name="node">Where the walk is.</param>
    /// <param name="path">Its path in the tree.</param>
    /// <param name="shown">The same path as the question spells it.</param>
    /// <param name="cancellationToken">Stops hashing.</param>
    private async ValueTask VisitAsync(Walk walk, ContentNode node, string path, string shown, CancellationToken cancellationToken)
    {
        var isDirectory = node.Kind == ContentKind.Directory;
        switch (walk.Judge(shown, isDirectory, out var level))
        {
            case Verdict.Emit:
                foreach (var parent in walk.TakePendingParents())
                    walk.Emitted.Add(new Entry(parent.Shown, await tree.HeaderAsync(parent.Node, parent.Path, disk).ConfigureAwait(false), false, parent.Node));
                var digest = isDirectory
                    ? await tree.HeaderAsync(node, path, disk).ConfigureAwait(false)
                    : await tree.DigestAsync(node, path, disk, cancellationToken).ConfigureAwait(false);
                walk.Emitted.Add(new Entry(shown, digest, node.Kind == ContentKind.Symlink, node));
                level.Emitted = true;
                break;
            case Verdict.Skip when !isDirectory:
            case Verdict.Leave:
                return;
            default:
                break;
        }
        if (!isDirectory)
            return;
        var enters = level.Pushes;
        if (enters)
            walk.Push(level, node, path, shown);
        foreach (var (name, child) in await tree.ChildrenAsync(node, path, disk).ConfigureAwait(false))
            await VisitAsync(walk, child, $"{path}/{name}", $"{shown}/{name}", cancellationToken).ConfigureAwait(false);
        if (enters)
            walk.Pop();
    }

    private async ValueTask<Digest> JoinAsync(List<Entry> entries, string wanted, bool followLinks, CancellationToken cancellationToken)
    {
        if (entries.Count == 0)
            return Digest.Sha256([]);
        var join = new ContentJoin();
        for (var i = 0; i < entries.Count; i++)
        {
            var (shown, digest, isSymlink, _) = entries[i];
            if (followLinks && isSymlink)
                digest = await PlainAsync(shown, followLinks: true, cancellationToken).ConfigureAwait(false);
            if (entries.Count == 1 && Base(wanted) == Base(shown))
                return digest;
            if (i == 0)
                join.Append(Base(shown), digest);
            else
                join.AppendSeparated(Base(shown), digest);
        }
        return join.Finish();
    }

    private static string Base(string path) => Layers.GoPath.Base(path);

    private enum Verdict
    {
        Skip,
        Enter,
        Emit,
        Leave, // a directory in which nothing can match: it is not even listed
    }

    private readonly record struct Entry(string Shown, Digest Digest, bool IsSymlink, ContentNode Node);

    private sealed class Level
    {
        internal ContentNode Node = null!;
        internal string Path = "";
        internal string Shown = "";
        internal MatchInfo Include;
        internal MatchInfo Exclude;
        internal bool Emitted;
        internal bool Pushes; // whether what is below sees this level's match results
    }

    /// <summary>State of one filtered walk.</summary>
    private sealed class Walk
    {
        private readonly PatternMatcher? _include;
        private readonly PatternMatcher? _exclude;
        private readonly PathGlob? _glob;
        private readonly IReadOnlyList<PathGlob>? _components;
        private readonly string _wanted;
        private readonly bool _endsInSeparator;
        private readonly List<Level> _parents = [];
        private string _lastMatched = "";

        internal Walk(ChecksumOptions options, string wanted, bool endsInSeparator)
        {
            _include = options.IncludePatterns.Count > 0 ? new PatternMatcher(options.IncludePatterns) : null;
            _exclude = options.ExcludePatterns.Count > 0 ? new PatternMatcher(options.ExcludePatterns) : null;
            _glob = options.Wildcard ? PathGlob.Parse(wanted) : null;
            // A class or an escape may hold a slash; such patterns are not taken apart.
            if (_glob is not null && wanted.AsSpan().IndexOfAny('[', '\\') < 0)
                _components = [.. wanted.Split('/', StringSplitOptions.RemoveEmptyEntries).Select(PathGlob.Parse)];
            _wanted = wanted;
            _endsInSeparator = endsInSeparator;
        }

        internal string Wanted => _wanted;

        internal List<Entry> Emitted { get; } = [];

        internal Verdict Judge(string shown, bool isDirectory, out Level level)
        {
            level = new Level();
            if (isDirectory && shown == _wanted && _endsInSeparator)
                return Verdict.Enter;
            var relativeTo = _wanted;
            if (_glob is not null)
            {
                var inside = _lastMatched.Length > 0 && shown.StartsWith(_lastMatched + "/", StringComparison.Ordinal);
                if (_wanted.Length > 0 && !inside)
                {
                    if (!_glob.IsMatch(shown))
                        return !isDirectory ? Verdict.Skip : MayHoldMatches(shown) ? Verdict.Enter : Verdict.Leave;
                    _lastMatched = shown;
                }
                relativeTo = _lastMatched;
            }
            var candidate = shown.Length <= relativeTo.Length ? "" : shown[(relativeTo.Length + 1)..];
            level.Pushes = isDirectory;
            var parent = _parents.Count > 0 ? _parents[^1] : null;
            if (_include is not null && !_include.Matches(candidate, parent?.Include ?? default, out level.Include))
                return Verdict.Skip;
            if (_exclude is not null && _exclude.Matches(candidate, parent?.Exclude ?? default, out level.Exclude))
                return Verdict.Skip;
            return Verdict.Emit;
        }

        // No wildcard crosses a slash: a directory must match the pattern's components as far as it goes.
        private bool MayHoldMatches(string directory)
        {
            if (_components is null)
                return true;
            var names = directory.Split('/', StringSplitOptions.RemoveEmptyEntries);
            return names.Length < _components.Count && !names.Where((name, i) => !_components[i].IsMatch(name)).Any();
        }

        internal IEnumerable<Level> TakePendingParents()
        {
            foreach (var parent in _parents)
            {
                if (parent.Emitted)
                    continue;
                parent.Emitted = true;
                yield return parent;
            }
        }

        internal void Push(Level level, ContentNode node, string path, string shown)
        {
            (level.Node, level.Path, level.Shown) = (node, path, shown);
            _parents.Add(level);
        }

        internal void Pop() => _parents.RemoveAt(_parents.Count - 1);
    }
}
