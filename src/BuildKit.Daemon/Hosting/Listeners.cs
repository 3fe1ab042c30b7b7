using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using BuildKit.Daemon.Configuration;
using BuildKit.Linux;
using BuildKit.Protocol.Server;
using Microsoft.Extensions.Logging;

namespace BuildKit.Daemon.Hosting;

/// <summary>Where the daemon listens (spec 08 §6.1, §6.6).</summary>
internal sealed class Listeners
{
    private const int FirstPassedDescriptor = 3;
    private const int LongestSocketPath = 104;
    private readonly List<string> _socketPaths = [];

    /// <summary>Addresses as logs tell them.</summary>
    public List<string> Names { get; } = [];

    /// <summary>What the server listens on.</summary>
    public List<GrpcListener> All { get; } = [];

    /// <summary>Reads the configured addresses.</summary>
    /// <exception cref="ConfigException">An address cannot be used.</exception>
    public static Listeners Open(DaemonConfig config, ILogger logger)
    {
        var listeners = new Listeners();
        var tls = Tls(config);
        foreach (var address in config.Addresses)
            listeners.Add(address, config, tls, logger);
        return listeners;
    }

    /// <summary>Gives the sockets their owner and mode; called when they exist.</summary>
    public void Own(DaemonConfig config)
    {
        foreach (var path in _socketPaths)
        {
            LinuxFile.Lchown(path, (uint)(config.SocketUid ?? LinuxProcess.EffectiveUserId), (uint)(config.SocketGid ?? LinuxProcess.EffectiveGroupId));
            LinuxFile.Chmod(path, Convert.ToUInt32("660", 8));
        }
    }

    /// <summary>Removes the sockets, so that new clients are told at once that nobody is there.</summary>
    public void Remove()
    {
        foreach (var path in _socketPaths)
            File.Delete(path);
    }

    private void Add(string address, DaemonConfig config, SslServerAuthenticationOptions? tls, ILogger logger)
    {
        var end = address.IndexOf("://", StringComparison.Ordinal);
        if (end < 0)
            throw new ConfigException($"address {address} does not contain proto, you meant unix://{address} ?");
        var rest = address[(end + 3)..];
        switch (address[..end])
        {
            case "unix":
                if (tls is not null)
                    logger.LogWarning("TLS is disabled for {Address}", address);
                if (System.Text.Encoding.UTF8.GetByteCount(rest) > LongestSocketPath)
                    throw new ConfigException($"path of socket {rest} is longer than {LongestSocketPath} bytes");
                var directory = Path.GetDirectoryName(Path.GetFullPath(rest))!;
                if (!Directory.Exists(directory))
                    LinuxFile.MkdirAll(directory, Convert.ToUInt32("770", 8));
                File.Delete(rest);
                _socketPaths.Add(rest);
                Names.Add(rest);
                All.Add(new GrpcListener(new UnixDomainSocketEndPoint(rest)));
                break;
            case "tcp":
                if (tls is null)
                    logger.LogWarning("TLS is not enabled for {Address}. enabling mutual TLS authentication is highly recommended", address);
                Names.Add(rest);
                All.Add(new GrpcListener(EndPoint(rest), Tls: tls));
                break;
            case "fd":
                if (rest.Length > 0)
                    throw new ConfigException("not supported yet");
                if (!int.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), NumberStyles.None, CultureInfo.InvariantCulture, out var count) || count < 1)
                    throw new ConfigException("no sockets found via socket activation: make sure the service was started by systemd");
                Names.Add("fd://");
                All.Add(new GrpcListener(Handle: FirstPassedDescriptor, Tls: tls));
                break;
            default:
                throw new ConfigException($"addr {address} not supported");
        }
    }

    private static IPEndPoint EndPoint(string hostAndPort)
    {
        var colon = hostAndPort.LastIndexOf(':');
        if (colon < 0 || !ushort.TryParse(hostAndPort.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port))
            throw new ConfigException($"address tcp://{hostAndPort}: missing port in address");
        var host = hostAndPort[..colon].Trim('[', ']');
        if (host.Length == 0)
            return new IPEndPoint(IPAddress.IPv6Any, port);
        if (IPAddress.TryParse(host, out var address))
            return new IPEndPoint(address, port);
        var found = Dns.GetHostAddresses(host);
        return found.Length > 0 ? new IPEndPoint(found[0], port) : throw new ConfigException($"lookup {host}: no such host");
    }

    private static SslServerAuthenticationOptions? Tls(DaemonConfig config)
    {
        if (config.TlsCert.Length == 0 && config.TlsKey.Length == 0)
            return null;
        if (config.TlsCert.Length == 0 || config.TlsKey.Length == 0)
            throw new ConfigException("you must specify key and cert file if one is specified");
        // The key of a certificate made from PEM is ephemeral, which the TLS layer does not take: through PKCS#12 it is not.
        using var pem = X509Certificate2.CreateFromPemFile(config.TlsCert, config.TlsKey);
        var options = new SslServerAuthenticationOptions
        {
            ServerCertificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null),
            ApplicationProtocols = [SslApplicationProtocol.Http2],
        };
        if (config.TlsCa.Length == 0)
            return options;
        var authorities = new X509Certificate2Collection();
        authorities.ImportFromPemFile(config.TlsCa);
        options.ClientCertificateRequired = true;
        options.CertificateChainPolicy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
        };
        options.CertificateChainPolicy.CustomTrustStore.AddRange(authorities);
        options.RemoteCertificateValidationCallback = (_, certificate, _, errors) => certificate is not null && errors == SslPolicyErrors.None;
        return options;
    }
}
