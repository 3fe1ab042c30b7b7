using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace BuildKit.Client;

/// <summary>TLS of a connection to the daemon (spec 08 §1.2). All members are paths or names; empty means not given.</summary>
public sealed record TlsOptions
{
    /// <summary>Name the certificate must be for; empty takes the host of the address.</summary>
    public string ServerName { get; init; } = "";

    /// <summary>PEM file with the roots that are trusted.</summary>
    public string CaCertificate { get; init; } = "";

    /// <summary>PEM file with the client's certificate.</summary>
    public string Certificate { get; init; } = "";

    /// <summary>PEM file with the client's key.</summary>
    public string Key { get; init; } = "";

    /// <summary>Whether anything asks for TLS.</summary>
    public bool IsEnabled => CaCertificate.Length > 0 || Certificate.Length > 0 || Key.Length > 0;

    /// <summary>Takes the three files of a directory.</summary>
    /// <exception cref="ClientException">A file is missing.</exception>
    public static TlsOptions FromDirectory(string directory, string serverName)
    {
        foreach (var name in (ReadOnlySpan<string>)["ca.pem", "cert.pem", "key.pem"])
        {
            if (!File.Exists(Path.Combine(directory, name)))
                throw new ClientException($"stat {Path.Combine(directory, name)}: no such file or directory");
        }
        return new TlsOptions
        {
            ServerName = serverName,
            CaCertificate = Path.Combine(directory, "ca.pem"),
            Certificate = Path.Combine(directory, "cert.pem"),
            Key = Path.Combine(directory, "key.pem"),
        };
    }

    /// <summary>Reads the files into what <see cref="SslStream"/> takes.</summary>
    /// <exception cref="ClientException">A file cannot be read or holds no certificate.</exception>
    internal SslClientAuthenticationOptions Load(string host)
    {
        var options = new SslClientAuthenticationOptions
        {
            TargetHost = ServerName.Length > 0 ? ServerName : host,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            // Without a CA nothing is trusted: the system's roots are never asked (spec 08 §5.2).
            CertificateChainPolicy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck },
        };
        if (CaCertificate.Length > 0)
        {
            string pem;
            try
            {
                pem = File.ReadAllText(CaCertificate);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                throw new ClientException($"could not read ca certificate: open {CaCertificate}: {DialErrors.Reason(failure)}", failure);
            }
            var roots = options.CertificateChainPolicy.CustomTrustStore;
            roots.ImportFromPem(pem);
            if (roots.Count == 0)
                throw new ClientException("failed to append ca certs");
        }
        if (Certificate.Length > 0 || Key.Length > 0)
        {
            foreach (var path in (ReadOnlySpan<string>)[Certificate, Key])
            {
                if (!File.Exists(path))
                    throw new ClientException($"could not read certificate/key: open {path}: no such file or directory");
            }
            try
            {
                options.ClientCertificateContext = SslStreamCertificateContext.Create(
                    X509Certificate2.CreateFromPemFile(Certificate, Key), additionalCertificates: null, offline: true);
            }
            catch (System.Security.Cryptography.CryptographicException failure)
            {
                throw new ClientException($"could not read certificate/key: {Certificate}, {Key}: {failure.Message}", failure);
            }
        }
        return options;
    }
}
