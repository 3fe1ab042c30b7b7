using System.Globalization;

namespace BuildKit.Llb;

/// <summary>Begins a chain of changes to a file system; see <see cref="State.File"/>.</summary>
public static class Files
{
    /// <summary>Makes a directory.</summary>
    public static FileAction Mkdir(string path, int mode, MkdirOptions? options = null) =>
        new(null, new MkdirStep(path, mode, options ?? new MkdirOptions()));

    /// <summary>Writes a file.</summary>
    public static FileAction Mkfile(string path, int mode, ReadOnlyMemory<byte> content, MkfileOptions? options = null) =>
        new(null, new MkfileStep(path, mode, content, options ?? new MkfileOptions()));

    /// <summary>Makes a symbolic link at <paramref name="newPath"/>; both paths are used as given.</summary>
    public static FileAction Symlink(string oldPath, string newPath, SymlinkOptions? options = null) =>
        new(null, new SymlinkStep(oldPath, newPath, options ?? new SymlinkOptions()));

    /// <summary>Removes a file or a tree.</summary>
    public static FileAction Remove(string path, RemoveOptions? options = null) =>
        new(null, new RemoveStep(path, options ?? new RemoveOptions()));

    /// <summary>Copies from another file system.</summary>
    public static FileAction Copy(CopySource source, string from, string to, CopyOptions? options = null) =>
        new(null, new CopyStep(source, from, to, options ?? new CopyOptions()));
}

/// <summary>A chain of changes to a file system. Immutable: each method answers a longer chain. Modes are permission
/// bits; relative paths start from the working directory of the state the chain is applied to.</summary>
public sealed class FileAction
{
    internal FileAction(FileAction? previous, FileStep step)
    {
        Previous = previous;
        Step = step;
    }

    internal FileAction? Previous { get; }

    internal FileStep Step { get; }

    /// <summary>Makes a directory.</summary>
    public FileAction Mkdir(string path, int mode, MkdirOptions? options = null) => Then(Files.Mkdir(path, mode, options));

    /// <summary>Writes a file.</summary>
    public FileAction Mkfile(string path, int mode, ReadOnlyMemory<byte> content, MkfileOptions? options = null) =>
        Then(Files.Mkfile(path, mode, content, options));

    /// <summary>Makes a symbolic link at <paramref name="newPath"/>; both paths are used as given.</summary>
    public FileAction Symlink(string oldPath, string newPath, SymlinkOptions? options = null) =>
        Then(Files.Symlink(oldPath, newPath, options));

    /// <summary>Removes a file or a tree.</summary>
    public FileAction Remove(string path, RemoveOptions? options = null) => Then(Files.Remove(path, options));

    /// <summary>Copies from another file system.</summary>
    public FileAction Copy(CopySource source, string from, string to, CopyOptions? options = null) =>
        Then(Files.Copy(source, from, to, options));

    /// <summary>What this chain makes of a state, as the source of a copy within one operation.</summary>
    public CopySource On(State state) => new(state, this);

    private FileAction Then(FileAction next) => new(this, next.Step);

    /// <summary>The steps, first one first.</summary>
    internal FileStep[] Steps()
    {
        var steps = new List<FileStep>();
        for (var action = this; action is not null; action = action.Previous)
            steps.Add(action.Step);
        steps.Reverse();
        return [.. steps];
    }
}

/// <summary>Where a copy takes files from: a state, or a chain of changes applied to one.</summary>
public sealed class CopySource
{
    internal CopySource(State state, FileAction? action)
    {
        State = state;
        Action = action;
    }

    internal State State { get; }

    internal FileAction? Action { get; }

    /// <summary>A state's file system.</summary>
    public static implicit operator CopySource(State state) => new(state, null);
}

/// <summary>Owner of what is made.</summary>
/// <param name="User">User; null leaves both ids to the daemon's default.</param>
/// <param name="Group">Group; null follows the user.</param>
public sealed record FileOwner(FileUser? User, FileUser? Group = null)
{
    /// <summary>Parses <c>user[:group]</c>, each a name or a number; <c>root</c> is 0.</summary>
    public static FileOwner Parse(string text)
    {
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0
            ? new FileOwner(FileUser.Parse(text))
            : new FileOwner(FileUser.Parse(text[..colon]), FileUser.Parse(text[(colon + 1)..]));
    }

    /// <summary>Owner by numbers.</summary>
    public static FileOwner Ids(int uid, int gid) => new(new FileUser(uid), new FileUser(gid));
}

/// <summary>A user or group, by name when there is one, else by id.</summary>
public sealed record FileUser(int Id, string Name = "")
{
    /// <summary>Parses a name or a number; <c>root</c> is 0.</summary>
    public static FileUser Parse(string text)
    {
        if (text == "root")
            return new FileUser(0);
        return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var id)
            ? new FileUser(id)
            : new FileUser(0, text);
    }
}

/// <summary>How a directory is made.</summary>
public sealed record MkdirOptions
{
    /// <summary>Make missing parents too.</summary>
    public bool MakeParents { get; init; }

    /// <summary>Owner; 0:0 when null.</summary>
    public FileOwner? Owner { get; init; }

    /// <summary>Modification time in nanoseconds since 1970; the time of the build when null.</summary>
    public long? CreatedTime { get; init; }
}

/// <summary>How a file is written.</summary>
public sealed record MkfileOptions
{
    /// <summary>Owner; 0:0 when null.</summary>
    public FileOwner? Owner { get; init; }

    /// <summary>Modification time in nanoseconds since 1970; the time of the build when null.</summary>
    public long? CreatedTime { get; init; }
}

/// <summary>How a symbolic link is made.</summary>
public sealed record SymlinkOptions
{
    /// <summary>Owner; 0:0 when null.</summary>
    public FileOwner? Owner { get; init; }

    /// <summary>Modification time in nanoseconds since 1970; the time of the build when null.</summary>
    public long? CreatedTime { get; init; }
}

/// <summary>How a path is removed.</summary>
public sealed record RemoveOptions
{
    /// <summary>A missing path is no error.</summary>
    public bool AllowNotFound { get; init; }

    /// <summary>The path is a pattern.</summary>
    public bool AllowWildcard { get; init; }
}

/// <summary>How files are copied (spec 02 §6.7).</summary>
public sealed record CopyOptions
{
    /// <summary>Mode of what is copied, as bits; null keeps the source's.</summary>
    public int? Mode { get; init; }

    /// <summary>Mode as a chmod expression; wins over <see cref="Mode"/>.</summary>
    public string ModeText { get; init; } = "";

    /// <summary>Follow a symbolic link given as the source.</summary>
    public bool FollowSymlinks { get; init; }

    /// <summary>Copy what is in a source directory, not the directory.</summary>
    public bool CopyDirectoryContents { get; init; }

    /// <summary>Copy only what matches.</summary>
    public IReadOnlyList<string> IncludePatterns { get; init; } = [];

    /// <summary>Do not copy what matches.</summary>
    public IReadOnlyList<string> ExcludePatterns { get; init; } = [];

    /// <summary>Unpack a source that is an archive.</summary>
    public bool AttemptUnpack { get; init; }

    /// <summary>Make missing parents of the destination.</summary>
    public bool CreateDestinationPath { get; init; }

    /// <summary>The source is a pattern.</summary>
    public bool AllowWildcard { get; init; }

    /// <summary>A pattern without match is no error.</summary>
    public bool AllowEmptyWildcard { get; init; }

    /// <summary>Owner; the source's when null.</summary>
    public FileOwner? Owner { get; init; }

    /// <summary>Modification time in nanoseconds since 1970; the source's when null.</summary>
    public long? CreatedTime { get; init; }

    /// <summary>Replace what stands in the way even when it is of another kind.</summary>
    public bool AlwaysReplaceExistingDestinationPaths { get; init; }
}
