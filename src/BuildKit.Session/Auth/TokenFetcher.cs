using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace BuildKit.Session.Auth;

/// <summary>What to ask a token server for.</summary>
public sealed record TokenRequest(string ClientId, string Realm, string Service, IReadOnlyList<string> Scopes);

/// <summary>A bearer token.</summary>
/// <param name="Value">The token.</param>
/// <param name="ExpiresIn">Seconds from <paramref name="IssuedAt"/>; 0 when the server did not say.</param>
/// <param name="IssuedAt">Unix seconds; 0 when the server did not say.</param>
public sealed record RegistryToken(string Value, long ExpiresIn, long IssuedAt);

/// <summary>Fetches bearer tokens as a client does: POST first when there is a secret, GET otherwise (spec 07 §12.4).</summary>
public sealed class TokenFetcher(HttpClient http)
{
    private const string UserAgent = "containerd/2.0.2+unknown";
    private const int MaxResponse = 1 << 20;

    /// <summary>Fetches a token.</summary>
    /// <exception cref="TokenException">The server refused or answered something else.</exception>
    public async Task<RegistryToken> FetchAsync(TokenRequest request, RegistryCredentials credentials, CancellationToken cancellationToken)
    {
        if (credentials.Secret.Length == 0)
        {
            try
            {
                return await GetAsync(request, null, cancellationToken);
            }
            catch (TokenException failure)
            {
                throw new TokenException("failed to fetch anonymous token: " + failure.Message, failure.Status);
            }
        }
        try
        {
            return await PostAsync(request, credentials, cancellationToken);
        }
        catch (TokenException refused) when ((refused.Status == HttpStatusCode.MethodNotAllowed && credentials.Username.Length > 0)
            || refused.Status is HttpStatusCode.NotFound or HttpStatusCode.Unauthorized)
        {
            return await GetAsync(request, credentials, cancellationToken);
        }
        catch (TokenException failure)
        {
            throw new TokenException("failed to fetch oauth token: " + failure.Message, failure.Status);
        }
    }

    private async Task<RegistryToken> GetAsync(TokenRequest request, RegistryCredentials? credentials, CancellationToken cancellationToken)
    {
        var query = new List<KeyValuePair<string, string>>();
        foreach (var scope in request.Scopes)
            query.Add(new("scope", scope));
        if (request.Service.Length > 0)
            query.Add(new("service", request.Service));
        var form = Encode(query);
        var separator = form.Length == 0 ? "" : request.Realm.Contains('?', StringComparison.Ordinal) ? "&" : "?";
        using var message = new HttpRequestMessage(HttpMethod.Get, request.Realm + separator + form);
        if (credentials is { Secret.Length: > 0 })
            message.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{credentials.Username}:{credentials.Secret}")));
        return await SendAsync(message, request.Realm, cancellationToken);
    }

    private async Task<RegistryToken> PostAsync(TokenRequest request, RegistryCredentials credentials, CancellationToken cancellationToken)
    {
        var fields = new List<KeyValuePair<string, string>> { new("client_id", request.ClientId) };
        if (credentials.Username.Length == 0)
        {
            fields.Add(new("grant_type", "refresh_token"));
            fields.Add(new("refresh_token", credentials.Secret));
        }
        else
        {
            fields.Add(new("grant_type", "password"));
            fields.Add(new("password", credentials.Secret));
        }
        if (request.Scopes.Count > 0)
            fields.Add(new("scope", string.Join(' ', request.Scopes)));
        fields.Add(new("service", request.Service));
        if (credentials.Username.Length > 0)
            fields.Add(new("username", credentials.Username));
        using var message = new HttpRequestMessage(HttpMethod.Post, request.Realm)
        {
            Content = new StringContent(Encode(fields), Encoding.UTF8, new MediaTypeHeaderValue("application/x-www-form-urlencoded", "utf-8")),
        };
        return await SendAsync(message, request.Realm, cancellationToken);
    }

    private async Task<RegistryToken> SendAsync(HttpRequestMessage message, string realm, CancellationToken cancellationToken)
    {
        message.Headers.TryAddWithoutValidation("User-Agent", UserAgent);
        try
        {
            using var response = await http.SendAsync(message, HttpCompletionOption.ResponseContentRead, cancellationToken);
            if ((int)response.StatusCode is < 200 or >= 400)
            {
                var status = string.Create(CultureInfo.InvariantCulture, $"{(int)response.StatusCode} {response.ReasonPhrase}");
                throw new TokenException($"unexpected status from {message.Method} request to {realm}: {status}", response.StatusCode);
            }
            return Parse(await response.Content.ReadAsByteArrayAsync(cancellationToken));
        }
        catch (HttpRequestException failure)
        {
            throw new TokenException($"{message.Method} \"{realm}\": {failure.Message}", null, failure);
        }
    }

    private static RegistryToken Parse(byte[] json)
    {
        if (json.Length > MaxResponse)
            throw new TokenException($"authorization server answered with {json.Length} bytes", null);
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            var token = Text(root, "access_token") is { Length: > 0 } access ? access : Text(root, "token");
            if (token.Length == 0)
                throw new TokenException("authorization server did not include a token in the response", null);
            var expiresIn = root.TryGetProperty("expires_in", out var seconds) && seconds.ValueKind == JsonValueKind.Number ? seconds.GetInt64() : 0;
            var issuedAt = DateTimeOffset.TryParse(Text(root, "issued_at"), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time.ToUnixTimeSeconds() : 0;
            return new RegistryToken(token, expiresIn, issuedAt);
        }
        catch (Exception malformed) when (malformed is JsonException or FormatException or InvalidOperationException)
        {
            throw new TokenException("unable to decode token response: " + malformed.Message, null, malformed);
        }
    }

    private static string Encode(IEnumerable<KeyValuePair<string, string>> fields) =>
        string.Join('&', fields.Select(static field => $"{Escape(field.Key)}={Escape(field.Value)}"));

    private static string Escape(string text) => Uri.EscapeDataString(text).Replace("%20", "+", StringComparison.Ordinal);

    private static string Text(JsonElement owner, string name) =>
        owner.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}

/// <summary>No token could be had.</summary>
public sealed class TokenException(string message, HttpStatusCode? status, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>What the server answered; null when it did not answer.</summary>
    public HttpStatusCode? Status { get; } = status;
}
