using System.Globalization;
using BuildKit.Dockerfile.Contexts;
using BuildKit.Dockerfile.Parsing;
using BuildKit.Oci;

namespace BuildKit.Dockerfile.Conversion;

/// <summary>Ports as <c>[ip:][host:]port[-port][/protocol]</c> (spec 05 §7.3).</summary>
internal static class PortSpecs
{
    /// <summary>All ports named, as <c>port/protocol</c>, sorted.</summary>
    /// <exception cref="DockerfileException">A text names no port.</exception>
    public static SortedSet<string> Parse(IEnumerable<string> texts)
    {
        var ports = new SortedSet<string>(ByteOrder.Instance);
        foreach (var text in texts)
            Add(ports, text);
        return ports;
    }

    private static void Add(SortedSet<string> ports, string text)
    {
        var parts = text.Split(':');
        var address = parts.Length > 2 ? string.Join(':', parts[..^2]) : "";
        var host = parts.Length > 1 ? parts[^2] : "";
        var (protocol, container) = SplitProtocol(parts[^1]);
        CheckAddress(address);
        if (container.Length == 0)
            throw new DockerfileException($"no port specified: {text}<empty>");
        var (start, end) = Range(container) ?? throw new DockerfileException($"invalid containerPort: {container}");
        if (host.Length > 0)
        {
            var (hostStart, hostEnd) = Range(host) ?? throw new DockerfileException($"invalid hostPort: {host}");
            if (end - start != hostEnd - hostStart && end != start)
                throw new DockerfileException($"invalid ranges specified for container and host Ports: {container} and {host}");
        }
        var lower = protocol.ToLowerInvariant();
        if (lower is not ("tcp" or "udp" or "sctp"))
            throw new DockerfileException($"invalid proto: {protocol}");
        for (var port = start; port <= end; port++)
            ports.Add(string.Create(CultureInfo.InvariantCulture, $"{port}/{lower}"));
    }

    private static (string Protocol, string Port) SplitProtocol(string text)
    {
        var parts = text.Split('/');
        if (parts[0].Length == 0)
            return ("", "");
        return parts.Length > 1 && parts[1].Length > 0 ? (parts[1], parts[0]) : ("tcp", parts[0]);
    }

    private static void CheckAddress(string address)
    {
        if (address.Length == 0)
            return;
        var bare = address;
        if (address[0] == '[')
        {
            if (!address.EndsWith(']'))
                throw new DockerfileException($"invalid IP address {address}: address {address}:: missing ']' in address");
            bare = address[1..^1];
        }
        if (IpAddressText.Parse(bare) is null)
            throw new DockerfileException($"invalid IP address: {bare}");
    }

    private static (int Start, int End)? Range(string text)
    {
        var parts = text.Split('-', 2);
        var start = Number(parts[0]);
        var end = parts.Length == 2 ? Number(parts[1]) : start;
        return start is { } first && end is { } last && last >= first ? (first, last) : null;
    }

    private static int? Number(string text) =>
        !text.AsSpan().ContainsAnyExceptInRange('0', '9') && ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}

/// <summary>Names of signals.</summary>
internal static class SignalNames
{
    private static readonly HashSet<string> Known = Names();

    /// <summary>Fails unless the text is a number other than 0 or a signal name, with or without SIG.</summary>
    /// <exception cref="DockerfileException">It is neither.</exception>
    public static void Check(string text)
    {
        if (Text.GoNumber.ParseIndex(text) is { } number ? number != 0 : Known.Contains(Bare(text)))
            return;
        throw new DockerfileException($"invalid signal: {text}");
    }

    private static string Bare(string text)
    {
        var upper = text.ToUpperInvariant();
        return upper.StartsWith("SIG", StringComparison.Ordinal) ? upper[3..] : upper;
    }

    private static HashSet<string> Names()
    {
        var names = new HashSet<string>(StringComparer.Ordinal)
        {
            "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF",
            "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2",
            "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
        };
        for (var i = 1; i <= 15; i++)
            names.Add(string.Create(CultureInfo.InvariantCulture, $"RTMIN+{i}"));
        for (var i = 1; i <= 14; i++)
            names.Add(string.Create(CultureInfo.InvariantCulture, $"RTMAX-{i}"));
        return names;
    }
}
