namespace BuildKit.Cli.Progress;

/// <summary>Display by the value of <c>--progress</c> (spec 08 §4).</summary>
internal static class Displays
{
    /// <summary>The mode meant: <c>auto</c> follows BUILDKIT_PROGRESS, then the kind of the stream.</summary>
    public static string Resolve(string mode, bool isTerminal, Func<string, string?> variable)
    {
        if (mode == "auto" && variable("BUILDKIT_PROGRESS") is { Length: > 0 } wish)
            mode = wish;
        return mode switch
        {
            "auto" or "" => isTerminal ? "tty" : "plain",
            "tty" => isTerminal ? "tty" : throw new CommandException("failed to get console: provided file is not a console"),
            "plain" or "rawjson" or "quiet" => mode,
            _ => throw new CommandException($"invalid progress mode {mode}"),
        };
    }

    /// <summary>Makes the display of a resolved mode.</summary>
    public static IProgressDisplay Create(string mode, Stream output, int descriptor, DisplayOptions options, TimeProvider time) => mode switch
    {
        "tty" => new ConsoleDisplay(output, () => Terminal.Size(descriptor), options, time),
        "plain" => new PlainDisplay(output, options, time),
        "rawjson" => new RawJsonDisplay(output),
        _ => new QuietDisplay(),
    };
}
