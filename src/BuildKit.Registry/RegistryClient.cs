using BuildKit.Oci;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.Registry.Http;
using BuildKit.Registry.Transfer;

namespace BuildKit.Registry;

/// <summary>What a repository is opened for.</summary>
public enum RegistryAccess
{
    /// <summary>Reading.</summary>
    Pull,
    /// <summary>Reading and writing; tokens are not shared between sessions.</summary>
    Push,
}

/// <summary>
/// The daemon's registry client: keeps connections, tokens and transfer limits for its life. Safe for concurrent use;
/// dispose it when the daemon ends.
/// </summary>
public sealed class RegistryClient : IDisposable
{
    private readonly RegistryConfig _config;
    private readonly RegistryHosts _hosts;
    private readonly AuthorizationCache _authorizations;
    private readonly TransferLimiter _limiter = new();
    private readonly Dictionary<string, RegistryHosts> _insecureHosts = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();

    /// <summary>A client for a configuration.</summary>
    /// <param name="config">Registries known; the empty configuration is fine.</param>
    /// <param name="time">Clock; the system's by default.</param>
    public RegistryClient(RegistryConfig config, TimeProvider? time = null)
    {
        time ??= TimeProvider.System;
        _config = config;
        _hosts = new RegistryHosts(config, time);
        _authorizations = new AuthorizationCache(time);
    }

    /// <summary>Opens the repository of a reference. Nothing is sent yet.</summary>
    /// <param name="reference">The image; its tag or digest is what <see cref="RegistryRepository.ResolveAsync"/> asks for.</param>
    /// <param name="access">What for.</param>
    /// <param name="credentials">The session's credentials.</param>
    /// <param name="isInsecure">As exporter attribute <c>registry.insecure</c>: the configuration is ignored.</param>
    /// <param name="silence">How long it may be silent; null for <see cref="RegistryConfig.Silence"/>.</param>
    public RegistryRepository Open(ImageReference reference, RegistryAccess access, IRegistryCredentials credentials, bool isInsecure = false, TimeSpan? silence = null)
    {
        var hosts = isInsecure ? InsecureHosts(reference.Domain) : _hosts;
        var isPush = access == RegistryAccess.Push;
        // The session is part of the handler's key everywhere; here it also keeps whole push namespaces apart.
        var space = $"{reference.Name}::{(isPush ? "push" : "pull")}{(isInsecure ? ":insecure" : "")}{(isPush ? "::" + credentials.SessionId : "")}";
        var authorizer = new Authorizer(_authorizations, space, credentials, sharesTokens: !isPush, _config.UserAgent);
        var retry = new RegistryRetry(hosts.Time, _config.FirstRetry);
        var endpoints = hosts.For(reference.Domain)
            .Select(endpoint => (endpoint, new RegistryRequests(endpoint, authorizer, _config.UserAgent, retry, silence ?? _config.Silence)))
            .ToList();
        return new RegistryRepository(reference, isPush, endpoints, _limiter, retry);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _hosts.Dispose();
        lock (_gate)
        {
            foreach (var hosts in _insecureHosts.Values)
                hosts.Dispose();
        }
    }

    private RegistryHosts InsecureHosts(string domain)
    {
        lock (_gate)
        {
            if (!_insecureHosts.TryGetValue(domain, out var hosts))
                _insecureHosts[domain] = hosts = new RegistryHosts(_config.InsecureFor(domain), _hosts.Time);
            return hosts;
        }
    }
}
