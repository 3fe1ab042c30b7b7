using System.Globalization;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.AzureBlob;

/// <summary>Speaks to the blob service: its version and date headers, its errors.</summary>
internal sealed class AzureBlobProtocol(IAzureIdentity identity, TimeProvider time) : IStoreProtocol
{
    private const string Version = "2024-11-04";

    public ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
    {
        message.Headers.TryAddWithoutValidation("User-Agent", "buildkit/v0.20");
        message.Headers.TryAddWithoutValidation("Accept", "application/xml");
        message.Headers.TryAddWithoutValidation("x-ms-date", time.GetUtcNow().ToString("R", CultureInfo.InvariantCulture));
        message.Headers.TryAddWithoutValidation("x-ms-version", Version);
        return identity.AuthorizeAsync(message, cancellationToken);
    }

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        var texts = StoreXml.Texts(body);
        var status = (int)response.StatusCode;
        var code = response.Headers.TryGetValues("x-ms-error-code", out var values) ? string.Join(",", values) : texts.GetValueOrDefault("Code") ?? "";
        var message = (texts.GetValueOrDefault("Message") ?? "").Split('\n')[0].Trim();
        return new TransferException(
            $"{request.Method.Method} {request.Url}: RESPONSE {status}: {status} {response.ReasonPhrase}, ERROR CODE: {(code.Length > 0 ? code : "UNAVAILABLE")}{(message.Length > 0 ? ": " + message : "")}")
        {
            Status = status,
            Code = code,
            IsTransient = status is 408 or 429 or 500 or 502 or 503 or 504,
        };
    }

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner)
    {
        var method = request.Method.Method;
        return new TransferException($"{method[0]}{method[1..].ToLowerInvariant()} \"{request.Url}\": {cause}", inner) { IsTransient = true };
    }
}
