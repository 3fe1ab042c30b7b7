using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace BuildKit.IntegrationTests.Transport;

/// <summary>An authority and what it signed, as PEM files of a directory: <c>ca.pem</c>, <c>cert.pem</c>, <c>key.pem</c>.</summary>
internal static class TestCertificates
{
    /// <summary>Makes a new authority with one certificate that serves for both ends on loopback.</summary>
    internal static void Write(string directory)
    {
        var now = DateTimeOffset.UtcNow;
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var authority = new CertificateRequest("CN=test authority", authorityKey, HashAlgorithmName.SHA256);
        authority.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        authority.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(authority.PublicKey, critical: false));
        using var root = authority.CreateSelfSigned(now.AddHours(-1), now.AddDays(1));

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=buildkitd.test", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        names.AddDnsName("buildkitd.test");
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], critical: false));
        using var leaf = request.Create(root, now.AddHours(-1), now.AddHours(12), RandomNumberGenerator.GetBytes(8));
        File.WriteAllText(directory + "/ca.pem", root.ExportCertificatePem());
        File.WriteAllText(directory + "/cert.pem", leaf.ExportCertificatePem());
        File.WriteAllText(directory + "/key.pem", key.ExportPkcs8PrivateKeyPem());
    }
}
