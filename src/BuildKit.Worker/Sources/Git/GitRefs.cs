using BuildKit.Worker.Executor;

namespace BuildKit.Worker.Sources.Git;

/// <summary>What a reference of a repository stands for.</summary>
/// <param name="Commit">The commit, 40 hex digits.</param>
/// <param name="Object">What the reference itself names: the commit, or the tag object that points to it.</param>
/// <param name="FullName">The whole name, for example <c>refs/heads/main</c>; empty when the commit was given.</param>
internal sealed record GitTarget(string Commit, string Object, string FullName)
{
    /// <summary>Whether the reference is a tag with a message.</summary>
    public bool IsAnnotatedTag => Object != Commit;

    /// <summary>A commit given by its id.</summary>
    public static GitTarget OfCommit(string commit) => new(commit, commit, "");
}

/// <summary>Reads what <c>git ls-remote</c> prints (spec 06 §9.3).</summary>
internal static class GitRefs
{
    private const string Heads = "refs/heads/";
    private const string Tags = "refs/tags/";
    private const string Peeled = "^{}";

    /// <summary>Name of the default branch; null when the output of <c>ls-remote --symref URL HEAD</c> names none.</summary>
    public static string? DefaultBranch(string output)
    {
        var start = output.IndexOf(Heads, StringComparison.Ordinal);
        if (start < 0)
            return null;
        var rest = output.AsSpan(start + Heads.Length);
        var end = rest.IndexOfAny(" \t\r\n");
        return rest.Length == 0 || end == 0 ? null : (end < 0 ? rest : rest[..end]).ToString();
    }

    /// <summary>Chooses among the lines for a reference: exactly that name, then a branch, then a tag.</summary>
    /// <exception cref="InvalidOperationException">No line is for it, or what it stands for is no commit.</exception>
    public static GitTarget Choose(string reference, string output)
    {
        var exact = "refs/" + Without(reference, "refs/");
        var head = Heads + Without(reference, Heads);
        var tag = Tags + Without(reference, Tags);
        var ids = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in output.Split('\n'))
        {
            if (line.Split('\t', 2) is [var id, var name])
                ids[name] = id;
        }
        foreach (var name in new[] { exact, head, tag })
        {
            if (!ids.TryGetValue(name, out var id))
                continue;
            // A tag with a message stands for the commit it points to, if it was asked for as a tag.
            var commit = name == tag ? ids.GetValueOrDefault(name + Peeled, id) : id;
            return GitAttributes.IsCommit(commit) && GitAttributes.IsCommit(id)
                ? new GitTarget(commit, id, name)
                : throw new InvalidOperationException($"invalid commit sha {GoQuote.Quote(commit)}");
        }
        throw new InvalidOperationException($"repository does not contain ref {reference}, output: {GoQuote.Quote(output)}");
    }

    private static string Without(string text, string prefix) => text.StartsWith(prefix, StringComparison.Ordinal) ? text[prefix.Length..] : text;
}
