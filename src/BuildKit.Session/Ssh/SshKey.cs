using System.Security.Cryptography;
using System.Text;
using BuildKit.Session.Crypto;

namespace BuildKit.Session.Ssh;

/// <summary>A private key that an agent signs with.</summary>
internal sealed class SshKey
{
    private const uint WantsSha256 = 2;
    private const uint WantsSha512 = 4;

    private readonly Func<byte[], uint, byte[]> _sign;

    private SshKey(byte[] publicBlob, string comment, Func<byte[], uint, byte[]> sign)
    {
        PublicBlob = publicBlob;
        Comment = comment;
        _sign = sign;
    }

    /// <summary>The public key as it travels.</summary>
    public byte[] PublicBlob { get; }

    public string Comment { get; }

    /// <summary>Reads an unencrypted private key: OpenSSH's own format, PKCS#1, SEC1 or PKCS#8 as PEM.</summary>
    /// <exception cref="InvalidDataException">It is none of these; the text is the reference's where it has one.</exception>
    public static SshKey Parse(ReadOnlySpan<byte> file, string comment)
    {
        var text = Encoding.Latin1.GetString(file);
        if (!PemEncoding.TryFind(text, out var fields))
            throw new InvalidDataException("ssh: no key found");
        var label = text[fields.Label];
        if (text.Contains("ENCRYPTED", StringComparison.Ordinal))
            throw new InvalidDataException("ssh: this private key is passphrase protected");
        var data = Convert.FromBase64String(text[fields.Base64Data]);
        try
        {
            switch (label)
            {
                case "OPENSSH PRIVATE KEY":
                    return ReadOpenSsh(data, comment);
                case "RSA PRIVATE KEY":
                    var rsa = RSA.Create();
                    rsa.ImportRSAPrivateKey(data, out _);
                    return FromRsa(rsa, comment);
                case "EC PRIVATE KEY":
                    var ec = ECDsa.Create();
                    ec.ImportECPrivateKey(data, out _);
                    return FromEc(ec, comment);
                case "PRIVATE KEY":
                    return ReadPkcs8(data, comment);
                default:
                    throw new InvalidDataException($"ssh: unsupported key type \"{label}\"");
            }
        }
        catch (CryptographicException failure)
        {
            throw new InvalidDataException($"ssh: malformed private key: {failure.Message}", failure);
        }
    }

    /// <summary>Signs; the result is an SSH signature blob.</summary>
    public byte[] Sign(byte[] data, uint flags) => _sign(data, flags);

    private static SshKey ReadPkcs8(byte[] data, string comment)
    {
        // PrivateKeyInfo of an Ed25519 key (RFC 8410 §7) is this prefix and the 32 bytes of the seed.
        ReadOnlySpan<byte> ed25519 = [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        if (data.AsSpan().StartsWith(ed25519) && data.Length == ed25519.Length + Ed25519.KeySize)
            return FromEd25519(data[ed25519.Length..], comment);
        try
        {
            var rsa = RSA.Create();
            rsa.ImportPkcs8PrivateKey(data, out _);
            return FromRsa(rsa, comment);
        }
        catch (CryptographicException)
        {
            var ec = ECDsa.Create();
            ec.ImportPkcs8PrivateKey(data, out _);
            return FromEc(ec, comment);
        }
    }

    private static SshKey ReadOpenSsh(byte[] data, string comment)
    {
        ReadOnlySpan<byte> magic = "openssh-key-v1\0"u8;
        if (!data.AsSpan().StartsWith(magic))
            throw new InvalidDataException("ssh: invalid openssh private key format");
        var outer = new SshReader(data.AsSpan(magic.Length));
        var cipher = outer.Text();
        _ = outer.Text();
        _ = outer.Bytes();
        if (cipher != "none")
            throw new InvalidDataException("ssh: this private key is passphrase protected");
        if (outer.Number() != 1)
            throw new InvalidDataException("ssh: multi-key files are not supported");
        _ = outer.Bytes();
        var inner = new SshReader(outer.Bytes());
        if (inner.Number() != inner.Number())
            throw new InvalidDataException("ssh: malformed OpenSSH key");
        var type = inner.Text();
        switch (type)
        {
            case "ssh-ed25519":
                _ = inner.Bytes();
                return FromEd25519(inner.Bytes()[..Ed25519.KeySize].ToArray(), comment);
            case "ssh-rsa":
                return ReadRsa(ref inner, comment);
            case "ecdsa-sha2-nistp256" or "ecdsa-sha2-nistp384" or "ecdsa-sha2-nistp521":
                return ReadEc(ref inner, comment);
            default:
                throw new InvalidDataException($"ssh: unhandled key type \"{type}\"");
        }
    }

    private static SshKey ReadRsa(ref SshReader reader, string comment)
    {
        var (n, e, d, inverseQ, p, q) = (reader.Integer(), reader.Integer(), reader.Integer(), reader.Integer(), reader.Integer(), reader.Integer());
        var half = (n.Length + 1) / 2;
        var parameters = new RSAParameters
        {
            Modulus = n,
            Exponent = e,
            D = Pad(d, n.Length),
            P = Pad(p, half),
            Q = Pad(q, half),
            InverseQ = Pad(inverseQ, half),
            DP = Pad(Reduce(d, p), half),
            DQ = Pad(Reduce(d, q), half),
        };
        return FromRsa(RSA.Create(parameters), comment);
    }

    private static byte[] Reduce(byte[] d, byte[] prime)
    {
        var value = new System.Numerics.BigInteger(d, isUnsigned: true, isBigEndian: true);
        var modulus = new System.Numerics.BigInteger(prime, isUnsigned: true, isBigEndian: true) - 1;
        return (value % modulus).ToByteArray(isUnsigned: true, isBigEndian: true);
    }

    private static SshKey ReadEc(ref SshReader reader, string comment)
    {
        var curve = reader.Text() switch
        {
            "nistp256" => ECCurve.NamedCurves.nistP256,
            "nistp384" => ECCurve.NamedCurves.nistP384,
            "nistp521" => ECCurve.NamedCurves.nistP521,
            var other => throw new InvalidDataException($"ssh: unhandled elliptic curve {other}"),
        };
        var point = reader.Bytes().ToArray();
        var size = (point.Length - 1) / 2;
        var parameters = new ECParameters
        {
            Curve = curve,
            Q = new ECPoint { X = point[1..(1 + size)], Y = point[(1 + size)..] },
            D = Pad(reader.Integer(), size),
        };
        return FromEc(ECDsa.Create(parameters), comment);
    }

    private static SshKey FromEd25519(byte[] seed, string comment)
    {
        var blob = new SshWriter().Text("ssh-ed25519").Bytes(Ed25519.GetPublicKey(seed)).ToArray();
        return new SshKey(blob, comment, (data, _) => new SshWriter().Text("ssh-ed25519").Bytes(Ed25519.Sign(seed, data)).ToArray());
    }

    private static SshKey FromRsa(RSA key, string comment)
    {
        var parameters = key.ExportParameters(includePrivateParameters: false);
        var blob = new SshWriter().Text("ssh-rsa").Integer(parameters.Exponent).Integer(parameters.Modulus).ToArray();
        return new SshKey(blob, comment, (data, flags) =>
        {
            var (name, hash) = (flags & WantsSha512) != 0 ? ("rsa-sha2-512", HashAlgorithmName.SHA512)
                : (flags & WantsSha256) != 0 ? ("rsa-sha2-256", HashAlgorithmName.SHA256)
                : ("ssh-rsa", HashAlgorithmName.SHA1);
            return new SshWriter().Text(name).Bytes(key.SignData(data, hash, RSASignaturePadding.Pkcs1)).ToArray();
        });
    }

    private static SshKey FromEc(ECDsa key, string comment)
    {
        var (curve, hash) = key.KeySize switch
        {
            256 => ("nistp256", HashAlgorithmName.SHA256),
            384 => ("nistp384", HashAlgorithmName.SHA384),
            521 => ("nistp521", HashAlgorithmName.SHA512),
            _ => throw new InvalidDataException("ssh: unhandled elliptic curve"),
        };
        var point = key.ExportParameters(includePrivateParameters: false).Q;
        var name = "ecdsa-sha2-" + curve;
        var blob = new SshWriter().Text(name).Text(curve).Bytes([4, .. point.X!, .. point.Y!]).ToArray();
        return new SshKey(blob, comment, (data, _) =>
        {
            var signature = key.SignData(data, hash, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);
            var half = signature.Length / 2;
            var numbers = new SshWriter().Integer(signature.AsSpan(0, half)).Integer(signature.AsSpan(half)).ToArray();
            return new SshWriter().Text(name).Bytes(numbers).ToArray();
        });
    }

    private static byte[] Pad(byte[] value, int length)
    {
        if (value.Length >= length)
            return value;
        var padded = new byte[length];
        value.CopyTo(padded, length - value.Length);
        return padded;
    }
}
