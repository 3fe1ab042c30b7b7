using System.Text;
using System.Text.Json;

namespace BuildKit.Session.Auth;

/// <summary>The part of Docker's <c>config.json</c> that tells registry credentials (spec 07 §12.5).</summary>
public sealed class DockerConfig
{
    private readonly Dictionary<string, RegistryCredentials> _auths = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _helpers = new(StringComparer.Ordinal);
    private string _store = "";

    private DockerConfig(string directory) => ConfigDirectory = directory;

    /// <summary>The directory the file is in.</summary>
    public string ConfigDirectory { get; }

    /// <summary><c>$DOCKER_CONFIG</c>, else <c>~/.docker</c>.</summary>
    public static string DefaultDirectory =>
        Environment.GetEnvironmentVariable("DOCKER_CONFIG") is { Length: > 0 } configured
            ? configured
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".docker");

    /// <summary>Reads a directory's file; a missing one is empty, a malformed one is reported and empty.</summary>
    public static DockerConfig Load(string directory, Action<string>? warn = null)
    {
        var config = new DockerConfig(directory);
        var path = Path.Combine(directory, "config.json");
        try
        {
            if (File.Exists(path))
                config.Read(File.ReadAllBytes(path));
        }
        catch (Exception failure) when (failure is JsonException or IOException or UnauthorizedAccessException or FormatException or InvalidOperationException)
        {
            warn?.Invoke($"WARNING: Error loading config file: {path}: {failure.Message}");
        }
        return config;
    }

    /// <summary>The key under which a host's credentials are kept.</summary>
    public static string KeyOf(string host) => host == "registry-1.docker.io" ? "https://index.docker.io/v1/" : host;

    /// <summary>Looks a host up, running a credential helper where one is configured.</summary>
    /// <exception cref="CredentialHelperException">The helper failed.</exception>
    public async Task<RegistryCredentials> FindAsync(string host, CancellationToken cancellationToken)
    {
        var key = KeyOf(host);
        if (HelperFor(key) is { } helper)
        {
            var found = await CredentialHelper.GetAsync(helper, key, cancellationToken);
            // What the file itself says besides (a registry token) still counts.
            return _auths.TryGetValue(key, out var own) && own.RegistryToken.Length > 0 ? found with { RegistryToken = own.RegistryToken } : found;
        }
        if (_auths.TryGetValue(key, out var exact))
            return exact;
        foreach (var (name, credentials) in _auths)
        {
            if (HostOf(name) == key)
                return credentials;
        }
        return RegistryCredentials.None;
    }

    private string? HelperFor(string key)
    {
        if (_helpers.TryGetValue(key, out var helper))
            return helper.Length > 0 ? helper : null;
        if (_store.Length > 0)
            return _store;
        if (_auths.Count > 0 || _helpers.Count > 0)
            return null;
        var platform = CredentialHelper.IsOnPath("pass") ? "pass" : "secretservice";
        return CredentialHelper.IsOnPath("docker-credential-" + platform) ? platform : null;
    }

    private void Read(ReadOnlySpan<byte> json)
    {
        var reader = new Utf8JsonReader(json);
        using var document = JsonDocument.ParseValue(ref reader);
        var root = document.RootElement;
        _store = Text(root, "credsStore");
        if (root.TryGetProperty("credHelpers", out var helpers) && helpers.ValueKind == JsonValueKind.Object)
        {
            foreach (var helper in helpers.EnumerateObject())
                _helpers[helper.Name] = helper.Value.GetString() ?? "";
        }
        if (!root.TryGetProperty("auths", out var auths) || auths.ValueKind != JsonValueKind.Object)
            return;
        foreach (var entry in auths.EnumerateObject())
            _auths[entry.Name] = ReadEntry(entry.Name, entry.Value);
    }

    private static RegistryCredentials ReadEntry(string name, JsonElement entry)
    {
        var (user, password) = (Text(entry, "username"), Text(entry, "password"));
        if (Text(entry, "auth") is { Length: > 0 } encoded)
        {
            var decoded = Encoding.UTF8.GetString(Convert.FromBase64String(encoded));
            var colon = decoded.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0)
                throw new FormatException($"invalid auth configuration file: entry {name}");
            (user, password) = (decoded[..colon], decoded[(colon + 1)..].Trim('\0'));
        }
        var registryToken = Text(entry, "registrytoken");
        return Text(entry, "identitytoken") is { Length: > 0 } identity
            ? new RegistryCredentials("", identity, registryToken)
            : new RegistryCredentials(user, password, registryToken);
    }

    private static string HostOf(string name)
    {
        var scheme = name.IndexOf("://", StringComparison.Ordinal);
        var host = scheme < 0 ? name : name[(scheme + 3)..];
        var slash = host.IndexOf('/', StringComparison.Ordinal);
        return slash < 0 ? host : host[..slash];
    }

    private static string Text(JsonElement owner, string name) =>
        owner.ValueKind == JsonValueKind.Object && owner.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}
