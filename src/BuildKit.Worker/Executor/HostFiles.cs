using System.Net;
using System.Text;

namespace BuildKit.Worker.Executor;

/// <summary>Name servers, search domains and options that replace the host's, kind by kind, where not empty.</summary>
public sealed record DnsSettings(IReadOnlyList<string> Nameservers, IReadOnlyList<string> Options, IReadOnlyList<string> SearchDomains);

/// <summary>Text of <c>/etc/hosts</c> and <c>/etc/resolv.conf</c> inside containers (spec 06 §6.5).</summary>
public static class HostFiles
{
    private const string SystemdStub = "127.0.0.53";
    private static readonly string[] PublicNameservers = ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"];

    /// <summary><c>/etc/hosts</c> for a host name and further entries.</summary>
    public static string Hosts(string hostname, IReadOnlyList<ExtraHost> extraHosts)
    {
        var text = new StringBuilder();
        text.Append("127.0.0.1\tlocalhost ").Append(hostname).Append('\n');
        text.Append("::1\tlocalhost ip6-localhost ip6-loopback\n");
        foreach (var (host, ip) in extraHosts)
            text.Append(ip).Append('\t').Append(host).Append('\n');
        return text.ToString();
    }

    /// <summary>Whether the only name server is systemd's stub, which a container cannot reach.</summary>
    public static bool NamesOnlySystemdStub(string resolvConf)
    {
        var servers = Lines(resolvConf).Where(l => l is ["nameserver", ..] and { Length: > 1 }).Select(l => l[1]).ToList();
        return servers is [SystemdStub];
    }

    /// <summary><c>/etc/resolv.conf</c> from the host's text and the configured settings.</summary>
    public static string ResolvConf(string host, DnsSettings? dns, bool hostNetwork)
    {
        var text = dns is null ? host : Replace(host, dns);
        var hasServer = Lines(text).Any(l => l.Length > 1 && l[0] == "nameserver");
        return hostNetwork || !hasServer ? text : Filter(text);
    }

    private static string Replace(string host, DnsSettings dns)
    {
        var servers = new List<string>(dns.Nameservers);
        var search = new List<string>(dns.SearchDomains);
        var options = new List<string>(dns.Options);
        foreach (var line in Lines(host))
        {
            if (line.Length < 2)
                continue;
            if (line[0] == "nameserver" && dns.Nameservers.Count == 0)
                servers.Add(line[1]);
            else if (line[0] is "search" or "domain" && dns.SearchDomains.Count == 0)
                search = [.. line[1..]];
            else if (line[0] == "options" && dns.Options.Count == 0)
                options = [.. line[1..]];
        }
        var text = new StringBuilder();
        if (search.Count > 0 && search is not ["."])
            text.Append("search ").AppendJoin(' ', search).Append('\n');
        foreach (var server in servers)
            text.Append("nameserver ").Append(server).Append('\n');
        if (options.Count > 0)
            text.Append("options ").AppendJoin(' ', options).Append('\n');
        return text.ToString();
    }

    private static string Filter(string text)
    {
        var servers = new List<string>();
        var search = new List<string>();
        var options = new List<string>();
        var others = new List<string>();
        foreach (var raw in text.Split('\n'))
        {
            var line = raw.Trim();
            if (line.Length == 0 || line[0] is '#' or ';')
                continue;
            var words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            switch (words[0])
            {
                case "nameserver" when words.Length > 1:
                    if (!IsLoopback(words[1]))
                        servers.Add(words[1]);
                    break;
                case "search" or "domain":
                    search = [.. words[1..]];
                    break;
                case "options":
                    options.AddRange(words[1..]);
                    break;
                default:
                    others.Add(line);
                    break;
            }
        }
        if (servers.Count == 0)
            servers.AddRange(PublicNameservers);
        var result = new StringBuilder();
        foreach (var server in servers)
            result.Append("nameserver ").Append(server).Append('\n');
        if (search.Count > 0)
            result.Append("search ").AppendJoin(' ', search).Append('\n');
        if (options.Count > 0)
            result.Append("options ").AppendJoin(' ', options).Append('\n');
        foreach (var other in others)
            result.Append(other).Append('\n');
        return result.ToString();
    }

    private static bool IsLoopback(string address)
    {
        var zone = address.IndexOf('%', StringComparison.Ordinal);
        return IPAddress.TryParse(zone < 0 ? address : address[..zone], out var ip) && IPAddress.IsLoopback(ip);
    }

    private static IEnumerable<string[]> Lines(string text) => text
        .Split('\n')
        .Select(line => line.Trim())
        .Where(line => line.Length > 0 && line[0] is not ('#' or ';'))
        .Select(line => line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
}
