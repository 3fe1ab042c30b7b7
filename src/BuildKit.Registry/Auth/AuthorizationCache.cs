using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace BuildKit.Registry.Auth;

/// <summary>What is known about authorization, for the life of the daemon: handlers by host and session within namespaces of
/// one image name and scope (spec 07 §12.3). Safe for concurrent use.</summary>
internal sealed class AuthorizationCache(TimeProvider time)
{
    private static readonly TimeSpan SweepInterval = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan UnusedLimit = TimeSpan.FromMinutes(10);

    private readonly ConcurrentDictionary<(string Namespace, string Host, string Session), AuthHandler> _handlers = new();
    // Made when first asked for: the library behind it is large, and a daemon at rest needs none of it.
    private readonly Lazy<byte[]> _salt = new(static () => RandomNumberGenerator.GetBytes(32));
    private long _nextSweep;

    /// <summary>Random for the life of the process; clients derive their authority keys from it.</summary>
    public byte[] Salt => _salt.Value;

    public TimeProvider Time => time;

    public AuthHandler? Get(string space, string host, string session)
    {
        Sweep();
        if (!_handlers.TryGetValue((space, host, session), out var handler))
            return null;
        handler.LastUsed = time.GetUtcNow();
        return handler;
    }

    /// <summary>Handlers of other sessions for the host.</summary>
    public IEnumerable<AuthHandler> Others(string space, string host, string session) =>
        _handlers.Where(entry => entry.Key.Namespace == space && entry.Key.Host == host && entry.Key.Session != session).Select(entry => entry.Value).Distinct();

    public void Set(string space, string host, string session, AuthHandler handler)
    {
        handler.LastUsed = time.GetUtcNow();
        _handlers[(space, host, session)] = handler;
    }

    public void Drop(string space, string host, string session, AuthHandler handler) =>
        _handlers.TryRemove(KeyValuePair.Create((space, host, session), handler));

    private void Sweep()
    {
        var now = time.GetUtcNow();
        var due = Interlocked.Read(ref _nextSweep);
        if (now.UtcTicks < due || Interlocked.CompareExchange(ref _nextSweep, (now + SweepInterval).UtcTicks, due) != due)
            return;
        foreach (var entry in _handlers.Where(entry => now - entry.Value.LastUsed > UnusedLimit))
            _handlers.TryRemove(entry);
    }
}

/// <summary>How to authorize against one host: fixed Basic credentials, or tokens by scope.</summary>
internal sealed class AuthHandler(string scheme, RegistryCredential credential, byte[]? authority, string realm, string service, IReadOnlyList<string> scopes)
{
    private readonly ConcurrentDictionary<string, (string Token, DateTimeOffset? Expires)> _tokens = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _fetching = new(1);

    public string Scheme => scheme;
    public RegistryCredential Credential => credential;
    public byte[]? Authority => authority;
    public string Realm => realm;
    public string Service => service;
    public DateTimeOffset LastUsed { get; set; }

    /// <summary>The scopes of a request together with those the challenge asked for.</summary>
    public IReadOnlyList<string> ScopesOf(IEnumerable<string> requested) => Auth.Scopes.Normalize([.. requested, .. scopes]);

    /// <summary>Drops a token.</summary>
    public void Forget(string token)
    {
        foreach (var entry in _tokens.Where(entry => entry.Value.Token == token))
            _tokens.TryRemove(entry);
    }

    /// <summary>A token for scopes, fetched once however many ask.</summary>
    public async Task<string> TokenAsync(IReadOnlyList<string> wanted, TimeProvider time, Func<Task<RegistryToken>> fetch, CancellationToken cancellationToken)
    {
        var key = string.Join(' ', wanted);
        await _fetching.WaitAsync(cancellationToken);
        try
        {
            if (_tokens.TryGetValue(key, out var cached) && (cached.Expires is null || cached.Expires > time.GetUtcNow()))
                return cached.Token;
            var token = await fetch();
            var now = time.GetUtcNow();
            var seconds = token.ExpiresIn == 0 ? 60 : token.ExpiresIn;
            var expires = (token.IssuedAt ?? now).AddSeconds(seconds * 0.9);
            _tokens[key] = (token.Token, expires > now ? expires : null);
            return token.Token;
        }
        finally
        {
            _fetching.Release();
        }
    }
}
