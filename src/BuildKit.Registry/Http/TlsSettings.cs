using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BuildKit.Registry.Hosts;

namespace BuildKit.Registry.Http;

/// <summary>Turns a host's table into TLS options (spec 07 §12.2).</summary>
internal static class TlsSettings
{
    public static SslClientAuthenticationOptions Create(RegistryHostConfig config)
    {
        var authorities = new X509Certificate2Collection();
        var identities = new X509Certificate2Collection();
        foreach (var file in config.CaFiles)
            LoadAuthorities(authorities, file);
        foreach (var pair in config.KeyPairs)
            LoadIdentity(identities, pair);
        foreach (var directory in config.TlsConfigDirectories)
            LoadDirectory(authorities, identities, directory);
        var options = new SslClientAuthenticationOptions { ApplicationProtocols = [SslApplicationProtocol.Http11] };
        if (identities.Count > 0)
            options.ClientCertificates = identities;
        options.RemoteCertificateValidationCallback = config.Insecure == true
            ? (_, _, _, _) => true
            : (_, certificate, chain, errors) => Verify(certificate, chain, errors, authorities);
        return options;
    }

    private static bool Verify(X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors, X509Certificate2Collection authorities)
    {
        if (errors == SslPolicyErrors.None)
            return true;
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch))
            throw new AuthenticationException($"tls: failed to verify certificate: x509: certificate {certificate?.Subject} is not valid for this host");
        if (errors == SslPolicyErrors.RemoteCertificateChainErrors && authorities.Count > 0 && certificate is X509Certificate2 leaf)
        {
            using var own = new X509Chain();
            own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            own.ChainPolicy.CustomTrustStore.AddRange(authorities);
            own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
            foreach (var element in chain?.ChainElements ?? Enumerable.Empty<X509ChainElement>())
                own.ChainPolicy.ExtraStore.Add(element.Certificate);
            if (own.Build(leaf))
                return true;
        }
        var expired = chain?.ChainStatus.Any(status => status.Status == X509ChainStatusFlags.NotTimeValid) == true;
        throw new AuthenticationException(expired
            ? "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
            : "tls: failed to verify certificate: x509: certificate signed by unknown authority");
    }

    private static void LoadAuthorities(X509Certificate2Collection authorities, string file)
    {
        try
        {
            authorities.ImportFromPemFile(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new RegistryException($"failed to read {file}: {Reason(e)}", e);
        }
    }

    private static void LoadIdentity(X509Certificate2Collection identities, TlsKeyPair pair)
    {
        try
        {
            identities.Add(X509Certificate2.CreateFromPemFile(pair.Certificate, pair.Key));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new RegistryException($"failed to load keypair for {pair.Certificate}: {Reason(e)}", e);
        }
    }

    private static void LoadDirectory(X509Certificate2Collection authorities, X509Certificate2Collection identities, string directory)
    {
        string[] files;
        try
        {
            files = [.. Directory.EnumerateFiles(directory).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return; // Documented: missing or unreadable directories do not count.
        }
        foreach (var file in files)
        {
            if (file.EndsWith(".crt", StringComparison.Ordinal))
                LoadAuthorities(authorities, file);
            else if (file.EndsWith(".cert", StringComparison.Ordinal))
                LoadIdentity(identities, new TlsKeyPair(file, Path.ChangeExtension(file, ".key")));
        }
    }

    private static string Reason(Exception e) => e is FileNotFoundException or DirectoryNotFoundException ? "no such file or directory" : e.Message;
}
