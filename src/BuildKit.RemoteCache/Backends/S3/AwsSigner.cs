using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BuildKit.RemoteCache.Backends.S3.Credentials;

namespace BuildKit.RemoteCache.Backends.S3;

/// <summary>Signature Version 4 of Amazon's services: a keyed hash over method, path, query, some headers and the body's hash.</summary>
internal static class AwsSigner
{
    /// <summary>SHA-256 of nothing.</summary>
    public const string EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// <summary>Signs a request whose headers are complete. Signed are the host, the content type, the range and all <c>x-amz-</c>
    /// headers: proxies change others on the way.</summary>
    /// <param name="message">The request.</param>
    /// <param name="credentials">Whose signature.</param>
    /// <param name="region">Region of the service.</param>
    /// <param name="service">Name of the service, for example <c>s3</c>.</param>
    /// <param name="bodyHash">Hex SHA-256 of the body.</param>
    /// <param name="now">Time of the signature; services refuse one that is 15 minutes off.</param>
    public static void Sign(HttpRequestMessage message, AwsCredentials credentials, string region, string service, string bodyHash, DateTimeOffset now)
    {
        var time = now.UtcDateTime.ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        message.Headers.TryAddWithoutValidation("X-Amz-Content-Sha256", bodyHash);
        message.Headers.TryAddWithoutValidation("X-Amz-Date", time);
        if (credentials.SessionToken.Length > 0)
            message.Headers.TryAddWithoutValidation("X-Amz-Security-Token", credentials.SessionToken);

        var url = message.RequestUri!;
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal) { ["host"] = url.Authority };
        foreach (var (name, values) in message.Headers.NonValidated.Concat(message.Content?.Headers.NonValidated ?? default))
        {
            var lower = name.ToLowerInvariant();
            if (lower is "content-type" or "range" || lower.StartsWith("x-amz-", StringComparison.Ordinal))
                headers[lower] = values.ToString().Trim();
        }
        var signed = string.Join(';', headers.Keys);
        var canonical = new StringBuilder().Append(message.Method.Method).Append('\n').Append(url.AbsolutePath).Append('\n').Append(Query(url)).Append('\n');
        foreach (var (name, value) in headers)
            canonical.Append(name).Append(':').Append(value).Append('\n');
        canonical.Append('\n').Append(signed).Append('\n').Append(bodyHash);

        var scope = $"{time[..8]}/{region}/{service}/aws4_request";
        var toSign = $"AWS4-HMAC-SHA256\n{time}\n{scope}\n{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical.ToString())))}";
        var key = Encoding.UTF8.GetBytes("AWS4" + credentials.SecretAccessKey);
        foreach (var part in scope.Split('/'))
            key = HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(part));
        var signature = Convert.ToHexStringLower(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(toSign)));
        message.Headers.TryAddWithoutValidation(
            "Authorization", $"AWS4-HMAC-SHA256 Credential={credentials.AccessKeyId}/{scope}, SignedHeaders={signed}, Signature={signature}");
    }

    /// <summary>Whose signature a request carries; null when it has none.</summary>
    public static AwsIdentity? IdentityOf(HttpRequestMessage message)
    {
        const string Before = "Credential=";
        var text = message.Headers.NonValidated.TryGetValues("Authorization", out var values) ? values.ToString() : "";
        var start = text.IndexOf(Before, StringComparison.Ordinal) + Before.Length;
        if (start < Before.Length)
            return null;
        var end = text.IndexOf('/', start);
        message.Headers.NonValidated.TryGetValues("X-Amz-Security-Token", out var token);
        return end < 0 ? null : new AwsIdentity(text[start..end], token.ToString());
    }

    /// <summary>The query in canonical order; our queries are encoded as the signature wants them.</summary>
    private static string Query(Uri url) => string.Join('&', url.Query.TrimStart('?')
        .Split('&', StringSplitOptions.RemoveEmptyEntries)
        .Select(pair => pair.Contains('=', StringComparison.Ordinal) ? pair : pair + "=")
        .Order(StringComparer.Ordinal));
}
