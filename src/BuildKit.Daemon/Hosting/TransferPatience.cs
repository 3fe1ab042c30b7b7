using BuildKit.Oci;

namespace BuildKit.Daemon.Hosting;

/// <summary>How patient the daemon is with registries and stores that fail for a moment.</summary>
public static class TransferPatience
{
    /// <summary>Variable that sets the first wait, a Go duration above zero; later waits are multiples of it. For fast local
    /// networks, and for tests.</summary>
    public const string Variable = "BUILDKIT_RETRY_DELAY";

    /// <summary>How long a failed transfer waits before its second attempt; null for the default of about a second.</summary>
    /// <exception cref="FormatException">The variable is no such duration.</exception>
    public static TimeSpan? FirstRetry()
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } text)
            return null;
        return GoDuration.TryParse(text, out var delay) && delay > TimeSpan.Zero ? delay : throw new FormatException($"{Variable}={text} is no duration above zero, for example 500ms");
    }
}
