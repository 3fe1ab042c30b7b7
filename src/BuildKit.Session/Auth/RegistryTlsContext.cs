using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace BuildKit.Session.Auth;

/// <summary>How a registry host's token server is spoken to (spec 08 §2.8). Several entries for one host are merged by the parser of the flag.</summary>
/// <param name="CertificateAuthorities">PEM files with roots; empty means the system's.</param>
/// <param name="KeyPairs">PEM files of client certificates.</param>
/// <param name="Insecure">Whether the server's certificate is not checked.</param>
public sealed record RegistryTlsContext(
    IReadOnlyList<string> CertificateAuthorities,
    IReadOnlyList<(string Certificate, string Key)> KeyPairs,
    bool Insecure)
{
    /// <summary>A client with these rules; the caller disposes it.</summary>
    internal HttpClient CreateClient()
    {
        var options = new SslClientAuthenticationOptions();
        if (Insecure)
        {
            options.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
        }
        else if (CertificateAuthorities.Count > 0)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            foreach (var file in CertificateAuthorities)
                policy.CustomTrustStore.ImportFromPemFile(file);
            options.CertificateChainPolicy = policy;
        }
        if (KeyPairs.Count > 0)
        {
            options.ClientCertificates = [];
            foreach (var (certificate, key) in KeyPairs)
                options.ClientCertificates.Add(X509Certificate2.CreateFromPemFile(certificate, key));
        }
        return new HttpClient(new SocketsHttpHandler { SslOptions = options });
    }
}
