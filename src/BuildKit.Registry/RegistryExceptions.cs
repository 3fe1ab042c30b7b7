using System.Net;

namespace BuildKit.Registry;

/// <summary>A registry could not do what was asked. The messages are those other tools print and match (spec 07 §12.6, §12.7).</summary>
public class RegistryException : IOException
{
    /// <summary>An error with a message.</summary>
    public RegistryException(string message, Exception? inner = null) : base(message, inner)
    {
    }

    /// <summary>Whether the same request may succeed a little later (spec 07 §12.6, "Retry").</summary>
    public virtual bool IsTransient => InnerException is RegistryException { IsTransient: true };

    /// <summary>How long the registry asked to be left alone; null when it did not say.</summary>
    public virtual TimeSpan? RetryAfter => (InnerException as RegistryException)?.RetryAfter;
}

/// <summary>The thing asked for is not there.</summary>
public sealed class RegistryNotFoundException(string message, Exception? inner = null) : RegistryException(message, inner);

/// <summary>The registry or its token server refused the credentials or the access.</summary>
public sealed class RegistryAuthorizationException(string message, Exception? inner = null) : RegistryException(message, inner);

/// <summary>A registry or token server answered with a status that was not expected.</summary>
public sealed class RegistryStatusException : RegistryException
{
    internal RegistryStatusException(string method, string url, HttpStatusCode status, string reason, string? message = null, TimeSpan? retryAfter = null)
        : base(message ?? $"unexpected status from {method} request to {url}: {reason}") => (StatusCode, RetryAfter) = (status, retryAfter);

    /// <summary>The status.</summary>
    public HttpStatusCode StatusCode { get; }

    /// <inheritdoc/>
    public override bool IsTransient => (int)StatusCode is >= 500 and <= 599;

    /// <inheritdoc/>
    public override TimeSpan? RetryAfter { get; }
}

/// <summary>The host could not be reached, or the connection broke.</summary>
public sealed class RegistryTransportException(string message, bool isTransient, Exception? inner = null) : RegistryException(message, inner)
{
    /// <inheritdoc/>
    public override bool IsTransient => isTransient;
}
