using BuildKit.Registry.Http;

namespace BuildKit.Registry.Hosts;

/// <summary>One host that may answer for a registry: the registry itself or a mirror.</summary>
/// <param name="Host">Host with optional port.</param>
/// <param name="Scheme"><c>http</c> or <c>https</c>.</param>
/// <param name="PathPrefix"><c>/v2</c>, or <c>/v2/&lt;path&gt;</c> of a mirror.</param>
/// <param name="IsMirror">Mirrors serve pulls only.</param>
/// <param name="Namespace">The registry's name, sent as <c>ns</c> when the host is another one; empty when not needed.</param>
/// <param name="Transport">How to reach it.</param>
internal sealed record RegistryEndpoint(string Host, string Scheme, string PathPrefix, bool IsMirror, string Namespace, RegistryTransport Transport)
{
    /// <summary>The URL of a path within a repository.</summary>
    public string Url(string repository, string path)
    {
        var url = $"{Scheme}://{Host}{PathPrefix}/{repository}/{path}";
        if (Namespace.Length == 0)
            return url;
        return url + (url.Contains('?', StringComparison.Ordinal) ? "&" : "?") + "ns=" + Uri.EscapeDataString(Namespace);
    }
}
