namespace BuildKit.CommandLine;

/// <summary>What a flag takes.</summary>
public enum FlagKind
{
    /// <summary>Nothing, or a boolean after <c>=</c>.</summary>
    Bool,

    /// <summary>A text.</summary>
    String,

    /// <summary>An integer.</summary>
    Int,

    /// <summary>A number.</summary>
    Float,

    /// <summary>A Go duration such as <c>1h30m</c>.</summary>
    Duration,

    /// <summary>A text, repeatable; commas do not split.</summary>
    StringList,
}

/// <summary>One flag of a command.</summary>
/// <param name="Name">Long name, without dashes.</param>
/// <param name="Kind">What it takes.</param>
/// <param name="Usage">Help text; a word in backquotes names the value.</param>
public sealed record Flag(string Name, FlagKind Kind, string Usage)
{
    /// <summary>Other names.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>Default value as the help shows it; empty for none.</summary>
    public string Default { get; init; } = "";

    /// <summary>Environment variable that gives the default.</summary>
    public string EnvironmentVariable { get; init; } = "";

    /// <summary>Left out of the help.</summary>
    public bool Hidden { get; init; }

    /// <summary>Every name.</summary>
    public IEnumerable<string> Names => [Name, .. Aliases];
}

/// <summary>A command line breaks the rules of its flags; the text is the reference's.</summary>
public sealed class UsageException(string message) : Exception(message);
