namespace BuildKit.RemoteCache.Transfer;

/// <summary>A store refused a request, or no whole answer came.</summary>
public sealed class TransferException(string message, Exception? inner = null) : IOException(message, inner)
{
    /// <summary>HTTP status of the answer; 0 when none came.</summary>
    public int Status { get; init; }

    /// <summary>The store's own name of the error, for example <c>NoSuchBucket</c>; empty when it gave none.</summary>
    public string Code { get; init; } = "";

    /// <summary>Whether the same request may succeed a little later.</summary>
    public bool IsTransient { get; init; }

    /// <summary>How long the store asked to be left alone; null when it did not say.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>The same error, of a request that may succeed when it is sent again.</summary>
    public TransferException AsTransient() => new(Message, this) { Status = Status, Code = Code, IsTransient = true, RetryAfter = RetryAfter };

    /// <summary>The same error with more said around it.</summary>
    public TransferException WithMessage(string text) =>
        new(text, this) { Status = Status, Code = Code, IsTransient = IsTransient, RetryAfter = RetryAfter };
}
