namespace BuildKit.Cli;

/// <summary>Ends a command; the text follows <c>error: </c>.</summary>
internal sealed class CommandException(string message, Exception? inner = null, int exitCode = 1) : Exception(message, inner)
{
    /// <summary>Exit code of the program.</summary>
    public int ExitCode { get; } = exitCode;
}
