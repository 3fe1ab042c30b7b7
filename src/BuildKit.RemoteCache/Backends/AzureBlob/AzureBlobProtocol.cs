using System.Globalization;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>Speaks to the blob service: its version and date headers, its errors.</summary>
/// <param name="identity">Whose requests they are; null when each URL carries its own permission, which errors must not show.</param>
/// <param name="time">Clock of the requests.</param>
internal sealed class AzureBlobProtocol(IAzureIdentity? identity, TimeProvider time) : IStoreProtocol
{
    private const string Version = "2024-11-04";

    public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
    {
        message.Headers.TryAddWithoutValidation("User-Agent", "buildkit/v0.20");
        message.Headers.TryAddWithoutValidation("Accept", "application/xml");
        message.Headers.TryAddWithoutValidation("x-ms-version", Version);
        if (identity is null)
            return ValueTask.CompletedTask;
        message.Headers.TryAddWithoutValidation("x-ms-date", time.GetUtcNow().ToString("R", CultureInfo.InvariantCulture));
        return identity.AuthorizeAsync(message, cancellationToken);
    }

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        var texts = StoreXml.Texts(body);
        var status = (int)response.StatusCode;
        var code = response.Headers.TryGetValues("x-ms-error-code", out var values) ? string.Join(",", values) : texts.GetValueOrDefault("Code") ?? "";
        var message = (texts.GetValueOrDefault("Message") ?? "").Split('\n')[0].Trim();
        return new TransferException(
            $"{request.Method.Method} {Shown(request)}: RESPONSE {status}: {status} {response.ReasonPhrase}, ERROR CODE: {(code.Length > 0 ? code : "UNAVAILABLE")}{(message.Length > 0 ? ": " + message : "")}")
        {
            Status = status,
            Code = code,
            IsTransient = status is 408 or 429 or 500 or 502 or 503 or 504,
        };
    }

    public ValueTask<bool> RenewAsync(HttpRequestMessage message, TransferException refusal, CancellationToken cancellationToken) =>
        identity is not null && refusal.Status == 401 ? identity.RenewAsync(message, cancellationToken) : ValueTask.FromResult(false);

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner)
    {
        var method = request.Method.Method;
        return new TransferException($"{method[0]}{method[1..].ToLowerInvariant()} \"{Shown(request)}\": {cause}", inner) { IsTransient = true };
    }

    private string Shown(StoreRequest request) => identity is null ? request.Url.Split('?')[0] : request.Url;
}
