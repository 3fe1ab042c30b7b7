using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>Speaks to the cache service: its token, the errors of both of its versions (spec 04 §8.4).</summary>
internal sealed class ActionsProtocol(string bearer) : IStoreProtocol
{
    /// <summary>Code of the error that an entry, or a reservation of one, is there already.</summary>
    public const string AlreadyExists = "already_exists";

    private static ReadOnlySpan<byte> ByteOrderMark => "\uFEFF"u8;

    public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
    {
        message.Headers.TryAddWithoutValidation("User-Agent", "buildkit/v0.20");
        message.Headers.TryAddWithoutValidation("Authorization", "Bearer " + bearer);
        return ValueTask.CompletedTask;
    }

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        if (body.StartsWith(ByteOrderMark))
            body = body[ByteOrderMark.Length..];
        var status = (int)response.StatusCode;
        var (text, code) = Read(status, response.ReasonPhrase ?? "", body);
        return new TransferException(text)
        {
            Status = status,
            Code = code,
            // 429 is not: all requests wait for its end together.
            IsTransient = status is 408 or 500 or 502 or 503 or 504,
        };
    }

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner)
    {
        var method = request.Method.Method;
        return new TransferException($"{method[0]}{method[1..].ToLowerInvariant()} \"{request.Url.Split('?')[0]}\": {cause}", inner) { IsTransient = true };
    }

    private static (string Text, string Code) Read(int status, string reason, ReadOnlySpan<byte> body)
    {
        var shown = ActionsJson.Shown(body);
        if (ActionsJson.TryParse(body) is not { } error)
            return ($"failed to parse error response {status}: {shown}", "");
        var (message, key) = (error.Text("message"), error.Text("typeKey"));
        if (message.Length > 0)
        {
            var exists = key.Contains("AlreadyExists", StringComparison.Ordinal) || message.Contains("already exists", StringComparison.OrdinalIgnoreCase);
            return (message, exists ? AlreadyExists : key);
        }
        var code = error.Text("code");
        if (code.Length == 0)
            return ($"unknown error {status} {reason}: {shown}", "");
        return (error.Text("msg") is { Length: > 0 } explained ? $"{code}: {explained}" : code, code);
    }
}

/// <summary>Reads what version 1 of the service has at signed addresses, which errors must not show.</summary>
internal sealed class ActionsArchiveProtocol : IStoreProtocol
{
    public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
    {
        message.Headers.TryAddWithoutValidation("User-Agent", "buildkit/v0.20");
        return ValueTask.CompletedTask;
    }

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        var status = (int)response.StatusCode;
        return new TransferException($"invalid status response {status} {response.ReasonPhrase} for {request.Url.Split('?')[0]}")
        {
            Status = status,
            IsTransient = status is 408 or 429 or 500 or 502 or 503 or 504,
        };
    }

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner) =>
        new($"{request.Method.Method} \"{request.Url.Split('?')[0]}\": {cause}", inner) { IsTransient = true };
}
