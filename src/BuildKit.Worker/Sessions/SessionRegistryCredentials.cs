using BuildKit.Registry.Auth;
using BuildKit.Session.Auth;
using RegistryToken = BuildKit.Registry.Auth.RegistryToken;

namespace BuildKit.Worker.Sessions;

/// <summary>Registry credentials of the clients behind some sessions; a client that offers none is anonymous.</summary>
public sealed class SessionRegistryCredentials(IClientSessions sessions, IEnumerable<string> sessionIds) : IRegistryCredentials
{
    private const string CredentialsMethod = "/moby.filesync.v1.Auth/Credentials";

    /// <inheritdoc/>
    public string SessionId => sessionIds.FirstOrDefault("");

    /// <inheritdoc/>
    public async ValueTask<RegistryCredential> GetCredentialAsync(string host, CancellationToken cancellationToken)
    {
        var found = await AskAsync(client => client.GetCredentialsAsync(host, cancellationToken), cancellationToken);
        return found is null ? RegistryCredential.Anonymous : new RegistryCredential(found.Username, found.Secret);
    }

    /// <inheritdoc/>
    public async ValueTask<byte[]?> GetTokenAuthorityAsync(string host, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) =>
        await AskAsync(client => client.GetTokenAuthorityAsync(host, salt, cancellationToken), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<bool> VerifyTokenAuthorityAsync(
        string host, ReadOnlyMemory<byte> publicKey, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) =>
        await AskAsync(client => client.VerifyTokenAuthorityAsync(host, publicKey, salt, cancellationToken), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<RegistryToken> FetchTokenAsync(RegistryTokenRequest request, CancellationToken cancellationToken)
    {
        var token = await AskAsync(
            client => client.FetchTokenAsync(
                request.Host, new TokenRequest(request.ClientId, request.Realm, request.Service, request.Scopes), cancellationToken),
            cancellationToken) ?? throw new InvalidOperationException($"no active session to fetch a token for {request.Host}");
        return new RegistryToken(
            token.Value, (int)Math.Clamp(token.ExpiresIn, 0, int.MaxValue), token.IssuedAt > 0 ? DateTimeOffset.FromUnixTimeSeconds(token.IssuedAt) : null);
    }

    private async Task<T?> AskAsync<T>(Func<AuthClient, Task<T>> ask, CancellationToken cancellationToken)
    {
        if (!sessionIds.Any())
            return default;
        return await sessions.AnyAsync<T?>(
            sessionIds,
            async session => session.Supports(CredentialsMethod) ? await ask(new AuthClient(session.Channel)) : default,
            cancellationToken);
    }
}
