using System.Text.RegularExpressions;

namespace BuildKit.Client;

/// <summary>
/// The commands whose standard input and output are a connection to a daemon elsewhere: they run
/// <c>buildctl dial-stdio</c> there (spec 08 §5.1).
/// </summary>
public static partial class HelperCommand
{
    /// <summary>The command of an address; null when its scheme needs none.</summary>
    /// <exception cref="ClientException">The address lacks a name or has one that cannot be passed on.</exception>
    public static IReadOnlyList<string>? For(DaemonAddress address)
    {
        if (address.Scheme is not ("docker-container" or "podman-container" or "nerdctl-container" or "kube-pod" or "ssh"))
            return null;
        Uri url;
        try
        {
            url = new Uri(address.Text, new UriCreationOptions());
        }
        catch (UriFormatException failure)
        {
            throw new ClientException($"parse {address.Text}: {failure.Message}", failure);
        }
        var (name, query) = Split(address.Rest);
        return address.Scheme switch
        {
            "docker-container" => Docker(Container(name), query.GetValueOrDefault("context", "")),
            "podman-container" => ["podman", "exec", "-i", Container(name), "buildctl", "dial-stdio"],
            "nerdctl-container" => query.GetValueOrDefault("namespace", "") is { Length: > 0 } space
                ? ["nerdctl", "exec", "--namespace", space, "-i", Container(name), "buildctl", "dial-stdio"]
                : ["nerdctl", "exec", "-i", Container(name), "buildctl", "dial-stdio"],
            "kube-pod" => Pod(name, query),
            _ => Ssh(address, url),
        };
    }

    private static string[] Docker(string name, string context) => context.Length > 0
        ? ["docker", "--context=" + context, "exec", "-i", name, "buildctl", "dial-stdio"]
        : ["docker", "exec", "-i", name, "buildctl", "dial-stdio"];

    private static string Container(string name) => name.Length > 0 ? name : throw new ClientException("url lacks container name");

    private static string[] Pod(string name, Dictionary<string, string> query)
    {
        if (name.Length == 0)
            throw new ClientException("url lacks pod name");
        var space = query.GetValueOrDefault("namespace", "");
        var container = query.GetValueOrDefault("container", "");
        if (!KubernetesName().IsMatch(name))
            throw new ClientException($"unsupported pod name: \"{name}\"");
        if (space.Length > 0 && !KubernetesName().IsMatch(space))
            throw new ClientException($"unsupported namespace name: \"{space}\"");
        if (container.Length > 0 && !KubernetesName().IsMatch(container))
            throw new ClientException($"unsupported container name: \"{container}\"");
        return
        [
            "kubectl", "--context=" + query.GetValueOrDefault("context", ""), "--namespace=" + space, "exec",
            "--container=" + container, "-i", name, "--", "buildctl", "dial-stdio",
        ];
    }

    private static List<string> Ssh(DaemonAddress address, Uri url)
    {
        if (url.Host.Length == 0)
            throw new ClientException("no host specified");
        if (url.UserInfo.Contains(':', StringComparison.Ordinal))
            throw new ClientException("plain-text password is not supported");
        if (url.Query.Length > 1)
            throw new ClientException($"extra query after the host: \"{url.Query[1..]}\"");
        if (url.Fragment.Length > 1)
            throw new ClientException($"extra fragment after the host: \"{url.Fragment[1..]}\"");
        List<string> command = ["ssh"];
        if (url.UserInfo.Length > 0)
            command.AddRange(["-l", Uri.UnescapeDataString(url.UserInfo)]);
        if (url.Port > 0)
            command.AddRange(["-p", url.Port.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        command.AddRange(["--", address.HostName, "buildctl"]);
        var socket = url.AbsolutePath.Trim('/');
        if (socket.Length > 0)
            command.AddRange(["--addr", "unix://" + url.AbsolutePath]);
        command.Add("dial-stdio");
        return command;
    }

    private static (string Name, Dictionary<string, string> Query) Split(string rest)
    {
        var query = new Dictionary<string, string>(StringComparer.Ordinal);
        var mark = rest.IndexOf('?', StringComparison.Ordinal);
        var name = (mark < 0 ? rest : rest[..mark]).TrimEnd('/');
        if (mark >= 0)
        {
            foreach (var pair in rest[(mark + 1)..].Split('&', StringSplitOptions.RemoveEmptyEntries))
            {
                var equals = pair.IndexOf('=', StringComparison.Ordinal);
                var key = Uri.UnescapeDataString(equals < 0 ? pair : pair[..equals]);
                query.TryAdd(key, equals < 0 ? "" : Uri.UnescapeDataString(pair[(equals + 1)..].Replace('+', ' ')));
            }
        }
        return (name, query);
    }

    [GeneratedRegex("^[-a-z0-9.]+$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex KubernetesName();
}
