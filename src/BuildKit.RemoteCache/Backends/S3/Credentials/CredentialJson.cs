using System.Text.Json;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.S3.Credentials;

/// <summary>Credentials as metadata services and helper programs give them.</summary>
internal static class CredentialJson
{
    /// <summary>Reads a document with <c>AccessKeyId</c>, <c>SecretAccessKey</c>, a token and <c>Expiration</c>, names without case.</summary>
    /// <exception cref="TransferException">It is none; <paramref name="what"/> says whose.</exception>
    public static AwsCredentials Parse(ReadOnlyMemory<byte> json, string what)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            string Get(params string[] names) => root.EnumerateObject()
                .Where(p => p.Value.ValueKind == JsonValueKind.String && names.Contains(p.Name, StringComparer.OrdinalIgnoreCase))
                .Select(p => p.Value.GetString()!).FirstOrDefault() ?? "";
            var (id, secret) = (Get("AccessKeyId"), Get("SecretAccessKey"));
            if (id.Length == 0 || secret.Length == 0)
                throw new TransferException($"get identity: get credentials: {what} gave no keys{(Get("Message") is { Length: > 0 } message ? ": " + message : "")}");
            return new AwsCredentials(id, secret, Get("Token", "SessionToken"), ParseTime(Get("Expiration")));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new TransferException($"get identity: get credentials: {what} gave no JSON object: {e.Message}", e);
        }
    }

    /// <summary>A time, or null when there is none.</summary>
    public static DateTimeOffset? ParseTime(string text) =>
        BuildKit.Oci.Rfc3339Time.TryParse(text, out var time) ? time.ToDateTimeOffset() : null;
}
