namespace BuildKit.RemoteCache.Transfer;

/// <summary>A request that can be sent again: everything in it is made anew for each attempt.</summary>
/// <param name="Method">HTTP method.</param>
/// <param name="Url">Absolute URL exactly as it goes on the wire.</param>
public sealed record StoreRequest(HttpMethod Method, string Url)
{
    /// <summary>Name of the operation in errors; empty for none.</summary>
    public string Operation { get; init; } = "";

    /// <summary>Headers in order; those of the body too.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];

    /// <summary>The body; null for none.</summary>
    public StoreBody? Body { get; init; }

    /// <summary>How long the store may work without a byte; null for the client's own limit.</summary>
    public TimeSpan? Silence { get; init; }

    /// <summary>Told the error of each attempt that failed: when no answer came, the store may have done what it was asked.</summary>
    public Action<TransferException>? OnFailure { get; init; }
}

/// <summary>The body of a request.</summary>
/// <param name="Size">Its size in bytes.</param>
/// <param name="OpenAsync">Opens it; called once per attempt.</param>
/// <param name="Sha256">Hex digest of the bytes, for signatures that cover them; null when it is not known.</param>
public sealed record StoreBody(long Size, Func<CancellationToken, ValueTask<Stream>> OpenAsync, string? Sha256 = null)
{
    /// <summary>Receives the bytes sent so far, from 0 for each attempt.</summary>
    public IProgress<long>? Progress { get; init; }

    /// <summary>A body held in memory.</summary>
    public static StoreBody Of(ReadOnlyMemory<byte> bytes) => new(
        bytes.Length,
        _ => ValueTask.FromResult<Stream>(new MemoryStream(bytes.ToArray(), writable: false)),
        Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes.Span)));
}

/// <summary>How one kind of store is spoken to.</summary>
public interface IStoreProtocol
{
    /// <summary>Adds what proves the identity. Called for each attempt, with all other headers in place.</summary>
    ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken);

    /// <summary>The error an answer tells. <see cref="TransferException.RetryAfter"/> is filled by the caller.</summary>
    TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body);

    /// <summary>Whether a refused request is worth another attempt because it can be signed with another proof of the same identity:
    /// one that expires may do so in the middle of a transfer.</summary>
    ValueTask<bool> RenewAsync(HttpRequestMessage message, TransferException refusal, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>The error when no answer came.</summary>
    TransferException Unreachable(StoreRequest request, string cause, Exception inner);
}
