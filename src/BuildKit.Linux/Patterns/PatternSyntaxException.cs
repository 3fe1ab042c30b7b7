namespace BuildKit.Linux.Patterns;

/// <summary>A pattern, or a list of them, cannot be understood; the message is the reference's text.</summary>
public sealed class PatternSyntaxException(string message) : Exception(message)
{
    /// <summary>Text for a single malformed pattern.</summary>
    public const string BadPattern = "syntax error in pattern";

    /// <summary>Makes the error of a single malformed pattern.</summary>
    public PatternSyntaxException()
        : this(BadPattern)
    {
    }
}
