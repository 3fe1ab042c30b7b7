using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using BuildKit.Registry.Http;

namespace BuildKit.Registry.Auth;

/// <summary>Authorizes the requests of one session to one repository (spec 07 §12.3).</summary>
internal sealed class Authorizer(AuthorizationCache cache, string space, IRegistryCredentials credentials, bool sharesTokens, string userAgent)
{
    private const string ClientId = "buildkit-client";

    /// <summary>The header for a host, as far as it has asked for one before.</summary>
    public async Task<AuthenticationHeaderValue?> AuthorizeAsync(string host, RegistryTransport transport, IReadOnlyList<string> scopes, CancellationToken cancellationToken)
    {
        var handler = cache.Get(space, host, credentials.SessionId) ?? await LinkAsync(host, cancellationToken);
        if (handler is null)
            return null;
        if (handler.Scheme == "basic")
            return TokenClient.Basic(handler.Credential);
        var wanted = handler.ScopesOf(scopes);
        var request = new RegistryTokenRequest(ClientId, host, handler.Realm, handler.Service, wanted);
        try
        {
            var token = await handler.TokenAsync(
                wanted,
                cache.Time,
                () => handler.Authority is null
                    ? TokenClient.FetchAsync(transport, userAgent, request, handler.Credential, cancellationToken)
                    : credentials.FetchTokenAsync(request, cancellationToken).AsTask(),
                cancellationToken);
            return new AuthenticationHeaderValue("Bearer", token);
        }
        catch (RegistryException e)
        {
            var message = "failed to authorize: " + e.Message;
            throw e is RegistryAuthorizationException ? new RegistryAuthorizationException(message, e) : new RegistryException(message, e);
        }
    }

    /// <summary>Takes up the challenges of a 401 answer; true when the request is worth repeating.</summary>
    /// <exception cref="RegistryAuthorizationException">The server says the access is refused.</exception>
    public async Task<bool> TakeChallengeAsync(RegistryAnswer answer, RegistryAnswer? previous, IReadOnlyList<string> scopes, CancellationToken cancellationToken)
    {
        foreach (var challenge in Challenge.Parse(answer.Challenges))
        {
            if (challenge.Scheme == "bearer")
                return await TakeBearerAsync(challenge, answer, previous, scopes, cancellationToken);
            if (challenge.Scheme != "basic")
                continue;
            var credential = await credentials.GetCredentialAsync(answer.Host, cancellationToken);
            if (credential.Username.Length == 0 || credential.Secret.Length == 0 || Equals(answer.Authorization, TokenClient.Basic(credential)))
                return false;
            cache.Set(space, answer.Host, credentials.SessionId, new AuthHandler("basic", credential, null, "", "", []));
            return true;
        }
        return false;
    }

    private async Task<bool> TakeBearerAsync(Challenge challenge, RegistryAnswer answer, RegistryAnswer? previous, IReadOnlyList<string> scopes, CancellationToken cancellationToken)
    {
        var wanted = challenge["scope"].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var handler = cache.Get(space, answer.Host, credentials.SessionId);
        if (challenge["error"] is { Length: > 0 } error && previous is not null && previous.Method == answer.Method && previous.Url == answer.Url)
        {
            if (handler is not null)
                cache.Drop(space, answer.Host, credentials.SessionId, handler);
            if (error == "insufficient_scope" && handler is not null && Scopes.Contain(handler.ScopesOf(scopes), wanted))
                throw new RegistryAuthorizationException($"server message: {error}: authorization failed");
            handler = null;
        }
        if (handler is not null)
        {
            // A token that is not accepted any more is not sent again, whatever its lifetime should have been.
            if (challenge["error"] != "insufficient_scope" && answer.Authorization is { Scheme: "Bearer", Parameter: { } token })
                handler.Forget(token);
            return true;
        }
        var realm = challenge["realm"];
        if (realm.Length == 0)
            throw new RegistryException("no realm specified for token auth challenge");
        if (!Uri.TryCreate(realm, UriKind.Absolute, out var realmUri) || realmUri.Scheme is not ("http" or "https"))
            throw new RegistryException($"invalid token auth challenge realm: {realm}");
        var authority = await credentials.GetTokenAuthorityAsync(answer.Host, cache.Salt, cancellationToken);
        if (authority is not null && authority.Length != 32)
            throw new RegistryException($"invalid token authority of {answer.Host}: expected a public key of 32 bytes, got {authority.Length}");
        var credential = authority is null ? await credentials.GetCredentialAsync(answer.Host, cancellationToken) : RegistryCredential.Anonymous;
        cache.Set(space, answer.Host, credentials.SessionId, new AuthHandler("bearer", credential, authority, realm, challenge["service"], wanted));
        return true;
    }

    /// <summary>Takes over a handler of another session for pulls, when this session proves to have the same secret.</summary>
    private async Task<AuthHandler?> LinkAsync(string host, CancellationToken cancellationToken)
    {
        if (!sharesTokens)
            return null;
        foreach (var other in cache.Others(space, host, credentials.SessionId))
        {
            var isSame = other.Authority is not null
                ? await credentials.VerifyTokenAuthorityAsync(host, other.Authority, cache.Salt, cancellationToken)
                : SameSecret(other.Credential, await credentials.GetCredentialAsync(host, cancellationToken));
            if (!isSame)
                continue;
            cache.Set(space, host, credentials.SessionId, other);
            return other;
        }
        return null;
    }

    private static bool SameSecret(RegistryCredential first, RegistryCredential second) =>
        first.Username == second.Username
        && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(first.Secret), Encoding.UTF8.GetBytes(second.Secret));
}
