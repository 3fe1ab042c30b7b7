using BuildKit.CommandLine;
using BuildKit.Oci;
using BuildKit.Session.Auth;
using BuildKit.Session.FileSync;
using BuildKit.Session.Ssh;

namespace BuildKit.Cli.Values;

/// <summary>The simpler values of <c>buildctl build</c> (spec 08 §2.4, §2.6 to §2.8).</summary>
internal static class BuildValues
{
    /// <summary>Reads <c>key=value</c> texts; a later one of a key counts.</summary>
    public static Dictionary<string, string> ParseOptions(IReadOnlyList<string> values)
    {
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            var (key, text) = Cut(value) ?? throw new CommandException($"invalid opt: invalid value {value}");
            options[key] = text;
        }
        return options;
    }

    /// <summary>Reads <c>name=directory</c> texts.</summary>
    public static Dictionary<string, LocalDirectory> ParseLocals(IReadOnlyList<string> values)
    {
        var directories = new Dictionary<string, LocalDirectory>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            var (name, path) = Cut(value) ?? throw new CommandException($"invalid local: invalid value {value}");
            directories[name] = Local(path);
        }
        return directories;
    }

    /// <summary>A directory that must exist.</summary>
    public static LocalDirectory Local(string path)
    {
        if (Directory.Exists(path))
            return new LocalDirectory(path);
        throw new CommandException(File.Exists(path)
            ? $"invalid local: stat {path}: not a directory"
            : $"invalid local: resolve : lstat {path}: no such file or directory");
    }

    /// <summary>Reads <c>id=directory</c> texts.</summary>
    public static Dictionary<string, string> ParseLayouts(IReadOnlyList<string> values)
    {
        var layouts = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            var (id, path) = Cut(value)
                ?? throw new CommandException($"invalid oci-layout: oci-layout option must be 'id=path/to/layout', instead had invalid {value}");
            if (!layouts.TryAdd(id, path))
                throw new CommandException($"oci store key \"oci:{id}\" already exists");
        }
        return layouts;
    }

    /// <summary>Reads <c>ID[=PATH[,PATH]]</c>.</summary>
    public static SshAgentSource ParseSsh(string value)
    {
        var (id, paths) = Cut(value) ?? (value, "");
        return new SshAgentSource(id, paths.Length == 0 ? [] : paths.Split(','));
    }

    /// <summary>Checks an entitlement.</summary>
    public static string ParseEntitlement(string value) =>
        value is "network.host" or "security.insecure" or "device" || value.StartsWith("device=", StringComparison.Ordinal)
            ? value
            : throw new CommandException($"unknown entitlement {value}");

    /// <summary>Reads <c>--registry-auth-tlscontext</c> values; several for a host add up.</summary>
    public static Dictionary<string, RegistryTlsContext> ParseTlsContexts(IReadOnlyList<string> values)
    {
        const string Flag = "--registry-auth-tlscontext";
        var contexts = new Dictionary<string, RegistryTlsContext>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            var fields = CsvRecord.ParsePairs(value);
            var host = fields.GetValueOrDefault("host", "");
            var (ca, certificate, key) = (fields.GetValueOrDefault("ca", ""), fields.GetValueOrDefault("cert", ""), fields.GetValueOrDefault("key", ""));
            var isInsecure = GoSyntax.ParseBool(fields.GetValueOrDefault("insecure", "")) == true;
            if (host.Length == 0)
                throw new CommandException($"{Flag} requires host=<host>");
            if (ca.Length == 0 && !isInsecure && (certificate.Length == 0 || key.Length == 0))
                throw new CommandException($"{Flag} requires ca=<ca> or cert=<cert>,key=<key> or insecure=true");
            if (ca.Length > 0 && certificate.Length == 0 != (key.Length == 0))
                throw new CommandException($"{Flag} requires cert=<cert>,key=<key>");
            if (!contexts.TryGetValue(host, out var known))
                known = new RegistryTlsContext([], [], false);
            contexts[host] = new RegistryTlsContext(
                ca.Length > 0 ? [.. known.CertificateAuthorities, ca] : known.CertificateAuthorities,
                certificate.Length > 0 && key.Length > 0 ? [.. known.KeyPairs, (certificate, key)] : known.KeyPairs,
                known.Insecure || isInsecure);
        }
        return contexts;
    }

    private static (string Key, string Value)? Cut(string text)
    {
        var equals = text.IndexOf('=', StringComparison.Ordinal);
        return equals < 0 ? null : (text[..equals], text[(equals + 1)..]);
    }
}
