namespace BuildKit.Llb;

/// <summary>A definition, an operation or a policy that cannot be accepted; the message says which and why, in
/// the words clients of the protocol know (spec 02).</summary>
public sealed class LlbException : Exception
{
    /// <summary>Makes the error.</summary>
    public LlbException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
