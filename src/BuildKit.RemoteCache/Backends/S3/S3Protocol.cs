using System.Globalization;
using BuildKit.RemoteCache.Backends.S3.Credentials;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>Signs requests to S3 and reads its errors; the texts have the form Amazon's Go client gives them.</summary>
internal sealed class S3Protocol(IAwsCredentialSource credentials, string region, TimeProvider time) : IStoreProtocol
{
    private static readonly string[] TransientCodes =
        ["InternalError", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded", "BandwidthLimitExceeded"];

    private static readonly string[] OutdatedCodes =
        ["ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired", "InvalidAccessKeyId"];

    public async ValueTask SignAsync(StoreRequest request, HttpRequestMessage message, CancellationToken cancellationToken)
    {
        var identity = await credentials.GetAsync(cancellationToken).ConfigureAwait(false)
            ?? throw new TransferException(
                "get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found; "
                + "give access_key_id and secret_access_key, or make credentials available to the daemon (environment, ~/.aws, instance role)");
        message.Headers.TryAddWithoutValidation("User-Agent", "buildkit/v0.20");
        AwsSigner.Sign(message, identity, region, "s3", request.Body is { } body ? body.Sha256 ?? "UNSIGNED-PAYLOAD" : AwsSigner.EmptyHash, time.GetUtcNow());
    }

    public TransferException Explain(StoreRequest request, HttpResponseMessage response, ReadOnlySpan<byte> body)
    {
        var texts = StoreXml.Texts(body);
        var status = (int)response.StatusCode;
        var reason = response.ReasonPhrase ?? "";
        // Answers to HEAD have no body: the status is all there is.
        var code = texts.GetValueOrDefault("Code") is { Length: > 0 } given ? given : response.StatusCode.ToString();
        var message = texts.GetValueOrDefault("Message") is { Length: > 0 } text ? text : reason.Length > 0 ? reason : code;
        var requestId = texts.GetValueOrDefault("RequestId") is { Length: > 0 } id ? id : Header("x-amz-request-id");
        var hostId = texts.GetValueOrDefault("HostId") is { Length: > 0 } host ? host : Header("x-amz-id-2");
        return new TransferException(string.Create(
            CultureInfo.InvariantCulture, $"https response error StatusCode: {status}, RequestID: {requestId}, HostID: {hostId}, api error {code}: {message}"))
        {
            Status = status,
            Code = code,
            IsTransient = status is 429 or 500 or 502 or 503 or 504 || TransientCodes.Contains(code, StringComparer.Ordinal),
        };

        string Header(string name) => response.Headers.TryGetValues(name, out var values) ? string.Join(",", values) : "";
    }

    public async ValueTask<bool> RenewAsync(HttpRequestMessage message, TransferException refusal, CancellationToken cancellationToken)
    {
        // Answers to HEAD have no body that tells an expired key from one that may not.
        var isOutdated = OutdatedCodes.Contains(refusal.Code, StringComparer.Ordinal) || (message.Method == HttpMethod.Head && refusal.Status is 400 or 401 or 403);
        return isOutdated && AwsSigner.IdentityOf(message) is { } used && await credentials.RenewAsync(used, cancellationToken).ConfigureAwait(false);
    }

    public TransferException Unreachable(StoreRequest request, string cause, Exception inner)
    {
        var method = request.Method.Method;
        return new TransferException($"request send failed, {method[0]}{method[1..].ToLowerInvariant()} \"{request.Url}\": {cause}", inner) { IsTransient = true };
    }
}
