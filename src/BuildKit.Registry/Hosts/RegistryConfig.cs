using System.Net;

namespace BuildKit.Registry.Hosts;

/// <summary>A client certificate and its key, both PEM files.</summary>
/// <param name="Certificate">Path of the certificate.</param>
/// <param name="Key">Path of the private key.</param>
public sealed record TlsKeyPair(string Certificate, string Key);

/// <summary>One <c>[registry."host"]</c> table of the daemon's configuration (spec 07 §12.2).</summary>
public sealed record RegistryHostConfig
{
    /// <summary>Mirrors in order: <c>host</c>, <c>host:port</c>, <c>host/path</c> or a URL of which host and path count.</summary>
    public IReadOnlyList<string> Mirrors { get; init; } = [];

    /// <summary>Plain HTTP; null decides by whether the host is this machine.</summary>
    public bool? PlainHttp { get; init; }

    /// <summary>HTTPS without verification of the certificate.</summary>
    public bool? Insecure { get; init; }

    /// <summary>PEM files of authorities trusted beside the system's.</summary>
    public IReadOnlyList<string> CaFiles { get; init; } = [];

    /// <summary>Client certificates.</summary>
    public IReadOnlyList<TlsKeyPair> KeyPairs { get; init; } = [];

    /// <summary>Directories in which <c>*.crt</c> are authorities and <c>*.cert</c> with <c>*.key</c> key pairs; unreadable ones are ignored.</summary>
    public IReadOnlyList<string> TlsConfigDirectories { get; init; } = [];
}

/// <summary>The registries a daemon knows, by host. The empty configuration is valid.</summary>
public sealed record RegistryConfig
{
    /// <summary>Tables by host (<c>docker.io</c>, <c>example.com:5000</c>).</summary>
    public IReadOnlyDictionary<string, RegistryHostConfig> Hosts { get; init; } = new Dictionary<string, RegistryHostConfig>(StringComparer.Ordinal);

    /// <summary>Sent with requests to registries.</summary>
    public string UserAgent { get; init; } = "buildkit/v0.20";

    /// <summary>How long a registry may be silent before a connection counts as broken.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How long a failed transfer waits before its second attempt.</summary>
    public TimeSpan FirstRetry { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The configuration for exporter attribute <c>registry.insecure=true</c>: nothing configured, the host without
    /// verification and falling back to plain HTTP (spec 07 §12.2).</summary>
    public RegistryConfig InsecureFor(string host) => this with
    {
        Hosts = new Dictionary<string, RegistryHostConfig>(StringComparer.Ordinal) { [host] = new() { Insecure = true, PlainHttp = true } },
    };

    /// <summary>Whether a host with optional port is this machine: <c>localhost</c> or a loopback address.</summary>
    /// <exception cref="FormatException">The port is empty.</exception>
    public static bool IsLocalhost(string host)
    {
        if (host is "::1" or "[::1]")
            return true;
        var name = host;
        var colon = host.LastIndexOf(':');
        if (colon >= 0 && !host.EndsWith(']'))
        {
            if (colon == host.Length - 1)
                throw new FormatException("invalid host name format");
            name = host[..colon];
        }
        name = name.Trim('[', ']');
        return name == "localhost" || (IPAddress.TryParse(name, out var address) && IPAddress.IsLoopback(address));
    }
}
