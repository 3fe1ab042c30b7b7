using System.Collections.Concurrent;
using System.Security.Cryptography;
using BuildKit.Protocol.Auth;
using BuildKit.Protocol.Grpc;
using BuildKit.Protocol.Services;
using BuildKit.Session.Crypto;
using Google.Protobuf;

namespace BuildKit.Session.Auth;

/// <summary>What the auth service of a client uses.</summary>
public sealed record AuthOptions
{
    /// <summary>Where credentials are looked up.</summary>
    public required DockerConfig Config { get; init; }

    /// <summary>TLS rules of token servers by registry host.</summary>
    public IReadOnlyDictionary<string, RegistryTlsContext> TlsContexts { get; init; } = new Dictionary<string, RegistryTlsContext>(StringComparer.Ordinal);

    /// <summary>Begins a progress entry, for example <c>[auth] library/alpine:pull token for registry-1.docker.io</c>; disposing ends it. Called once per name.</summary>
    public Func<string, IDisposable?>? Progress { get; init; }

    /// <summary>Whether tokens are left to the daemon; default: environment variable BUILDKIT_NO_CLIENT_TOKEN.</summary>
    public bool NoClientTokens { get; init; } = Environment.GetEnvironmentVariable("BUILDKIT_NO_CLIENT_TOKEN") is "1" or "t" or "T" or "true" or "TRUE" or "True";

    /// <summary>Clock of the credential cache.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}

/// <summary>The client's end of <c>moby.filesync.v1.Auth</c>: credentials stay with the client (spec 01 §5.8, 07 §12.5).</summary>
public sealed class AuthProvider : IDisposable
{
    private const long DefaultLifetime = 60;
    private static readonly TimeSpan CacheTime = TimeSpan.FromMinutes(10);

    private readonly AuthOptions _options;
    private readonly TokenSeeds _seeds;
    private readonly ConcurrentDictionary<string, (RegistryCredentials Credentials, DateTimeOffset Until)> _cache = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, bool> _reported = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, Lazy<HttpClient>> _clients = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _lookup = new(1, 1);

    /// <summary>Makes the provider.</summary>
    public AuthProvider(AuthOptions options)
    {
        _options = options;
        _seeds = new TokenSeeds(options.Config.ConfigDirectory);
    }

    /// <summary>The service.</summary>
    public GrpcService ToService() => new GrpcService()
        .Unary(AuthMethods.Credentials, CredentialsAsync)
        .Unary(AuthMethods.FetchToken, FetchTokenAsync)
        .Unary(AuthMethods.GetTokenAuthority, GetTokenAuthorityAsync)
        .Unary(AuthMethods.VerifyTokenAuthority, VerifyTokenAuthorityAsync);

    /// <summary>The private seed of a host's authority key: HMAC-SHA256 keyed with the daemon's salt over the host's seed (empty when anonymous).</summary>
    public static byte[] AuthoritySeed(ReadOnlySpan<byte> salt, ReadOnlySpan<byte> hostSeed) => HMACSHA256.HashData(salt, hostSeed);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var client in _clients.Values)
        {
            if (client.IsValueCreated)
                client.Value.Dispose();
        }
        _lookup.Dispose();
    }

    private async Task<CredentialsResponse> CredentialsAsync(CredentialsRequest request, ServerCallContext context)
    {
        var credentials = await FindAsync(request.Host, context.CancellationToken);
        if (credentials.Secret.Length > 0)
            Report($"[auth] sharing credentials for {request.Host}")?.Dispose();
        return new CredentialsResponse { Username = credentials.Username, Secret = credentials.Secret };
    }

    private async Task<FetchTokenResponse> FetchTokenAsync(FetchTokenRequest request, ServerCallContext context)
    {
        var credentials = await FindAsync(request.Host, context.CancellationToken);
        if (credentials.RegistryToken.Length > 0)
            return new FetchTokenResponse { Token = credentials.RegistryToken, ExpiresIn = DefaultLifetime };
        var scopes = request.Scopes.Select(static scope => scope.StartsWith("repository:", StringComparison.Ordinal) ? scope["repository:".Length..] : scope);
        using var progress = Report($"[auth] {string.Join(' ', scopes)} token for {request.Host}");
        try
        {
            var wanted = new TokenRequest(request.ClientID, request.Realm, request.Service, request.Scopes);
            var token = await new TokenFetcher(Client(request.Host)).FetchAsync(wanted, credentials, context.CancellationToken);
            return new FetchTokenResponse
            {
                Token = token.Value,
                ExpiresIn = token.ExpiresIn == 0 ? DefaultLifetime : token.ExpiresIn,
                IssuedAt = token.IssuedAt,
            };
        }
        catch (TokenException failure)
        {
            throw new RpcException(StatusCode.Unknown, failure.Message, failure);
        }
    }

    private async Task<GetTokenAuthorityResponse> GetTokenAuthorityAsync(GetTokenAuthorityRequest request, ServerCallContext context)
    {
        var seed = await KeySeedAsync(request.Host, request.Salt, context.CancellationToken);
        return new GetTokenAuthorityResponse { PublicKey = UnsafeByteOperations.UnsafeWrap(Ed25519.GetPublicKey(seed)) };
    }

    private async Task<VerifyTokenAuthorityResponse> VerifyTokenAuthorityAsync(VerifyTokenAuthorityRequest request, ServerCallContext context)
    {
        var seed = await KeySeedAsync(request.Host, request.Salt, context.CancellationToken);
        byte[] signed = [.. Ed25519.Sign(seed, request.Payload.Span), .. request.Payload.Span];
        return new VerifyTokenAuthorityResponse { Signed = UnsafeByteOperations.UnsafeWrap(signed) };
    }

    private async Task<byte[]> KeySeedAsync(string host, ByteString salt, CancellationToken cancellationToken)
    {
        if (_options.NoClientTokens)
            throw new RpcException(StatusCode.Unavailable, "client side tokens disabled");
        var credentials = await FindAsync(host, cancellationToken);
        return AuthoritySeed(salt.Span, credentials.Secret.Length > 0 ? _seeds.Get(host) : []);
    }

    private async Task<RegistryCredentials> FindAsync(string host, CancellationToken cancellationToken)
    {
        await _lookup.WaitAsync(cancellationToken);
        try
        {
            var now = _options.Time.GetUtcNow();
            if (_cache.TryGetValue(host, out var cached) && cached.Until > now)
                return cached.Credentials;
            var credentials = await _options.Config.FindAsync(host, cancellationToken);
            _cache[host] = (credentials, now + CacheTime);
            return credentials;
        }
        catch (CredentialHelperException failure)
        {
            throw new RpcException(StatusCode.Unknown, failure.Message, failure);
        }
        finally
        {
            _lookup.Release();
        }
    }

    private HttpClient Client(string host)
    {
        var key = _options.TlsContexts.ContainsKey(host) ? host : "";
        return _clients.GetOrAdd(key, name => new Lazy<HttpClient>(() => name.Length == 0 ? new HttpClient() : _options.TlsContexts[name].CreateClient())).Value;
    }

    private IDisposable? Report(string name) => _options.Progress is { } progress && _reported.TryAdd(name, true) ? progress(name) : null;
}
