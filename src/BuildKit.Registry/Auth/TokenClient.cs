using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Registry.Http;

namespace BuildKit.Registry.Auth;

/// <summary>Fetches tokens from the realm of a Bearer challenge in the daemon's order: with a secret GET first, then POST
/// where GET is not supported; without one an anonymous GET (spec 07 §12.4).</summary>
internal static class TokenClient
{
    private const string FetcherUserAgent = "containerd/2.0.2+unknown";
    private const int LargestAnswer = 1 << 20;

    public static async Task<RegistryToken> FetchAsync(
        RegistryTransport transport, string userAgent, RegistryTokenRequest request, RegistryCredential credential, CancellationToken cancellationToken)
    {
        if (credential.Secret.Length == 0)
        {
            try
            {
                return await GetAsync(transport, userAgent, request, credential, cancellationToken);
            }
            catch (RegistryException e)
            {
                throw Wrapped("failed to fetch anonymous token", e);
            }
        }
        try
        {
            try
            {
                return await GetAsync(transport, FetcherUserAgent, request, credential, cancellationToken);
            }
            catch (RegistryStatusException e) when (e.StatusCode is HttpStatusCode.NotFound or HttpStatusCode.Unauthorized
                || (e.StatusCode == HttpStatusCode.MethodNotAllowed && credential.Username.Length > 0))
            {
                return await PostAsync(transport, userAgent, request, credential, cancellationToken);
            }
        }
        catch (RegistryException e)
        {
            throw Wrapped("failed to fetch oauth token", e);
        }
    }

    private static RegistryException Wrapped(string what, RegistryException e) =>
        e is RegistryStatusException { StatusCode: HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden }
            ? new RegistryAuthorizationException($"{what}: {e.Message}", e)
            : new RegistryException($"{what}: {e.Message}", e);

    private static async Task<RegistryToken> GetAsync(
        RegistryTransport transport, string userAgent, RegistryTokenRequest request, RegistryCredential credential, CancellationToken cancellationToken)
    {
        var fields = request.Scopes.Select(scope => KeyValuePair.Create("scope", scope)).ToList();
        if (request.Service.Length > 0)
            fields.Add(KeyValuePair.Create("service", request.Service));
        var url = FormEncoding.AddQuery(request.Realm, fields);
        using var response = await transport.SendAsync(
            target =>
            {
                var message = new HttpRequestMessage(HttpMethod.Get, target);
                message.Headers.TryAddWithoutValidation("User-Agent", userAgent);
                if (credential.Secret.Length > 0)
                    message.Headers.Authorization = Basic(credential);
                return message;
            },
            url,
            cancellationToken);
        return await ReadAsync("GET", url, response, cancellationToken);
    }

    private static async Task<RegistryToken> PostAsync(
        RegistryTransport transport, string userAgent, RegistryTokenRequest request, RegistryCredential credential, CancellationToken cancellationToken)
    {
        var fields = new Dictionary<string, string>(StringComparer.Ordinal) { ["client_id"] = request.ClientId };
        if (request.Scopes.Count > 0)
            fields["scope"] = string.Join(' ', request.Scopes);
        if (request.Service.Length > 0)
            fields["service"] = request.Service;
        if (credential.Username.Length == 0)
        {
            fields["grant_type"] = "refresh_token";
            fields["refresh_token"] = credential.Secret;
        }
        else
        {
            fields["grant_type"] = "password";
            fields["username"] = credential.Username;
            fields["password"] = credential.Secret;
        }
        using var response = await transport.SendAsync(
            target =>
            {
                var message = new HttpRequestMessage(HttpMethod.Post, target)
                {
                    Content = new ByteArrayContent(Encoding.ASCII.GetBytes(FormEncoding.Encode(fields))),
                };
                message.Content.Headers.ContentType = MediaTypeHeaderValue.Parse("application/x-www-form-urlencoded; charset=utf-8");
                message.Headers.TryAddWithoutValidation("User-Agent", userAgent);
                return message;
            },
            request.Realm,
            cancellationToken);
        return await ReadAsync("POST", request.Realm, response, cancellationToken);
    }

    internal static AuthenticationHeaderValue Basic(RegistryCredential credential) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{credential.Username}:{credential.Secret}")));

    private static async Task<RegistryToken> ReadAsync(string method, string url, HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if ((int)response.StatusCode is < 200 or >= 400)
            throw RegistryRequests.Unexpected(method, url, response);
        var body = await RegistryRequests.ReadBodyAsync(response, LargestAnswer, cancellationToken);
        try
        {
            using var document = JsonDocument.Parse(body);
            var (token, accessToken, expiresIn, issuedAt) = ("", "", 0, (DateTimeOffset?)null);
            foreach (var property in document.RootElement.EnumerateObject())
            {
                switch (property.Name.ToLowerInvariant())
                {
                    case "token": token = property.Value.GetString() ?? ""; break;
                    case "access_token": accessToken = property.Value.GetString() ?? ""; break;
                    case "expires_in" when property.Value.ValueKind == JsonValueKind.Number: expiresIn = property.Value.GetInt32(); break;
                    case "issued_at" when Rfc3339Time.TryParse(property.Value.GetString() ?? "", out var time): issuedAt = time.ToDateTimeOffset(); break;
                }
            }
            if (accessToken.Length > 0)
                token = accessToken;
            return token.Length > 0
                ? new RegistryToken(token, expiresIn, issuedAt)
                : throw new RegistryException("authorization server did not include a token in the response");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            throw new RegistryException($"unable to decode token response: {e.Message}", e);
        }
    }
}
