namespace BuildKit.Registry.Auth;

/// <summary>User and secret of a registry host; an empty user with a secret means an identity token.</summary>
/// <param name="Username">User.</param>
/// <param name="Secret">Password or identity token.</param>
public sealed record RegistryCredential(string Username, string Secret)
{
    /// <summary>No credentials.</summary>
    public static RegistryCredential Anonymous { get; } = new("", "");

    /// <summary>Hides the secret.</summary>
    public override string ToString() => Secret.Length == 0 ? "anonymous" : $"{Username}:***";
}

/// <summary>A request for a token, made by whoever holds the secret.</summary>
/// <param name="ClientId">Always <c>buildkit-client</c>.</param>
/// <param name="Host">Host of the registry, <c>host[:port]</c>.</param>
/// <param name="Realm">URL of the token server.</param>
/// <param name="Service">Service of the challenge; may be empty.</param>
/// <param name="Scopes">Scopes, normalised.</param>
public sealed record RegistryTokenRequest(string ClientId, string Host, string Realm, string Service, IReadOnlyList<string> Scopes);

/// <summary>A token.</summary>
/// <param name="Token">The token itself.</param>
/// <param name="ExpiresIn">Lifetime in seconds; 0 means 60.</param>
/// <param name="IssuedAt">When it was issued; null means now.</param>
public sealed record RegistryToken(string Token, int ExpiresIn, DateTimeOffset? IssuedAt)
{
    /// <summary>Hides the token.</summary>
    public override string ToString() => $"token for {ExpiresIn} s";
}

/// <summary>
/// Where credentials come from: in the daemon the client's session (spec 07 §12.5). Implementations are safe for concurrent
/// use. A client that knows nothing answers with <see cref="RegistryCredential.Anonymous"/> and a null authority, it does not throw.
/// </summary>
public interface IRegistryCredentials
{
    /// <summary>Identifies the session; tokens that can push are never shared between two ids.</summary>
    string SessionId { get; }

    /// <summary>Credentials for a host (<c>host[:port]</c> of the request; <c>registry-1.docker.io</c> for Docker Hub).</summary>
    ValueTask<RegistryCredential> GetCredentialAsync(string host, CancellationToken cancellationToken);

    /// <summary>The public key (32 bytes) by which the client proves to know the secret of a host; null when the client does not
    /// fetch tokens itself. The salt is 32 random bytes made once per daemon process.</summary>
    ValueTask<byte[]?> GetTokenAuthorityAsync(string host, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken);

    /// <summary>Whether this session can sign with the key an earlier session presented for the host.</summary>
    ValueTask<bool> VerifyTokenAuthorityAsync(string host, ReadOnlyMemory<byte> publicKey, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken);

    /// <summary>Lets the client fetch a token; called only when it presented an authority.</summary>
    ValueTask<RegistryToken> FetchTokenAsync(RegistryTokenRequest request, CancellationToken cancellationToken);
}

/// <summary>Fixed credentials by host, tokens fetched here; for tests and tools.</summary>
public sealed class StaticRegistryCredentials : IRegistryCredentials
{
    private readonly Func<string, RegistryCredential> _byHost;

    /// <summary>Credentials by host.</summary>
    /// <param name="byHost">Answers for a host.</param>
    /// <param name="sessionId">Id of the pretended session.</param>
    public StaticRegistryCredentials(Func<string, RegistryCredential> byHost, string sessionId = "static") =>
        (_byHost, SessionId) = (byHost, sessionId);

    /// <summary>No credentials for any host.</summary>
    public static StaticRegistryCredentials Anonymous { get; } = new(_ => RegistryCredential.Anonymous, "");

    /// <inheritdoc/>
    public string SessionId { get; }

    /// <inheritdoc/>
    public ValueTask<RegistryCredential> GetCredentialAsync(string host, CancellationToken cancellationToken) => ValueTask.FromResult(_byHost(host));

    /// <inheritdoc/>
    public ValueTask<byte[]?> GetTokenAuthorityAsync(string host, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) => ValueTask.FromResult<byte[]?>(null);

    /// <inheritdoc/>
    public ValueTask<bool> VerifyTokenAuthorityAsync(string host, ReadOnlyMemory<byte> publicKey, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <inheritdoc/>
    public ValueTask<RegistryToken> FetchTokenAsync(RegistryTokenRequest request, CancellationToken cancellationToken) =>
        throw new RegistryAuthorizationException($"no token authority for {request.Host}");
}
