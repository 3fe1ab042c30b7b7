using System.Collections.Concurrent;
using BuildKit.Registry.Http;

namespace BuildKit.Registry.Hosts;

/// <summary>Finds the hosts that answer for a registry, in the order they are tried (spec 07 §12.2). Keeps one transport
/// per host; safe for concurrent use.</summary>
internal sealed class RegistryHosts(RegistryConfig config, TimeProvider time) : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<RegistryTransport>> _transports = new(StringComparer.Ordinal);

    public TimeProvider Time { get; } = time;

    public string UserAgent => config.UserAgent;

    /// <summary>Mirrors first, then the registry itself.</summary>
    public IReadOnlyList<RegistryEndpoint> For(string registry)
    {
        var endpoints = new List<RegistryEndpoint>();
        foreach (var mirror in config.Hosts.GetValueOrDefault(registry)?.Mirrors ?? [])
        {
            var (host, path) = SplitMirror(mirror);
            endpoints.Add(Endpoint(registry, host, host, ("/v2" + path).TrimEnd('/'), isMirror: true));
        }
        endpoints.Add(Endpoint(registry, registry, registry == "docker.io" ? "registry-1.docker.io" : registry, "/v2", isMirror: false));
        return endpoints;
    }

    public void Dispose()
    {
        foreach (var transport in _transports.Values)
        {
            if (transport.IsValueCreated)
                transport.Value.Dispose();
        }
    }

    private RegistryEndpoint Endpoint(string registry, string table, string host, string path, bool isMirror)
    {
        var settings = config.Hosts.GetValueOrDefault(table) ?? new RegistryHostConfig();
        var plain = settings.PlainHttp ?? RegistryConfig.IsLocalhost(host);
        var insecure = settings.Insecure == true;
        var transport = _transports.GetOrAdd(table, _ => new Lazy<RegistryTransport>(() => new RegistryTransport(settings, fallsBackToHttp: insecure && plain, config.Silence, Time))).Value;
        var needsNamespace = host != registry && !(registry == "docker.io" && host == "registry-1.docker.io");
        return new RegistryEndpoint(host, plain && !insecure ? "http" : "https", path, isMirror, needsNamespace ? registry : "", transport);
    }

    private static (string Host, string Path) SplitMirror(string mirror)
    {
        var scheme = mirror.IndexOf("://", StringComparison.Ordinal);
        var rest = (scheme < 0 ? mirror : mirror[(scheme + 3)..]).Split('?', '#')[0];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? (rest, "") : (rest[..slash], rest[slash..].TrimEnd('/'));
    }
}
