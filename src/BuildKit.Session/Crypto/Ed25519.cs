using System.Runtime.InteropServices;

namespace BuildKit.Session.Crypto;

/// <summary>Ed25519 (RFC 8032), which .NET lacks, by OpenSSL's libcrypto, which .NET on Linux needs for its own cryptography anyway.</summary>
public static unsafe class Ed25519
{
    /// <summary>Bytes of a private seed and of a public key.</summary>
    public const int KeySize = 32;

    /// <summary>Bytes of a signature.</summary>
    public const int SignatureSize = 64;

    private const int KeyType = 1087;

    private static readonly Lazy<Functions> Library = new(Load);

    /// <summary>The public key of a private seed.</summary>
    /// <exception cref="PlatformNotSupportedException">libcrypto is missing or too old.</exception>
    public static byte[] GetPublicKey(ReadOnlySpan<byte> seed)
    {
        var f = Library.Value;
        var key = PrivateKey(f, seed);
        try
        {
            var publicKey = new byte[KeySize];
            nuint length = KeySize;
            fixed (byte* p = publicKey)
                Check(f.GetRawPublicKey(key, p, &length) == 1 && length == KeySize);
            return publicKey;
        }
        finally
        {
            f.FreeKey(key);
        }
    }

    /// <summary>Signs a message with a private seed.</summary>
    public static byte[] Sign(ReadOnlySpan<byte> seed, ReadOnlySpan<byte> message)
    {
        var f = Library.Value;
        var key = PrivateKey(f, seed);
        var context = f.NewContext();
        try
        {
            Check(context != 0 && f.SignInit(context, 0, 0, 0, key) == 1);
            var signature = new byte[SignatureSize];
            nuint length = SignatureSize;
            fixed (byte* s = signature)
            fixed (byte* m = message)
                Check(f.Sign(context, s, &length, m, (nuint)message.Length) == 1 && length == SignatureSize);
            return signature;
        }
        finally
        {
            f.FreeContext(context);
            f.FreeKey(key);
        }
    }

    /// <summary>Whether a signature of a message is valid under a public key.</summary>
    public static bool Verify(ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> message, ReadOnlySpan<byte> signature)
    {
        if (publicKey.Length != KeySize || signature.Length != SignatureSize)
            return false;
        var f = Library.Value;
        nint key;
        fixed (byte* p = publicKey)
            key = f.NewPublicKey(KeyType, 0, p, KeySize);
        if (key == 0)
            return false;
        var context = f.NewContext();
        try
        {
            Check(context != 0 && f.VerifyInit(context, 0, 0, 0, key) == 1);
            fixed (byte* s = signature)
            fixed (byte* m = message)
                return f.Verify(context, s, SignatureSize, m, (nuint)message.Length) == 1;
        }
        finally
        {
            f.FreeContext(context);
            f.FreeKey(key);
        }
    }

    private static nint PrivateKey(Functions f, ReadOnlySpan<byte> seed)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(seed.Length, KeySize);
        fixed (byte* p = seed)
        {
            var key = f.NewPrivateKey(KeyType, 0, p, KeySize);
            Check(key != 0);
            return key;
        }
    }

    private static void Check(bool succeeded)
    {
        if (!succeeded)
            throw new System.Security.Cryptography.CryptographicException("libcrypto failed at an Ed25519 operation");
    }

    private static Functions Load()
    {
        foreach (var name in (ReadOnlySpan<string>)["libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so"])
        {
            if (NativeLibrary.TryLoad(name, out var library) && NativeLibrary.TryGetExport(library, "EVP_PKEY_new_raw_private_key", out _))
                return new Functions(library);
        }
        throw new PlatformNotSupportedException("Ed25519 needs OpenSSL's libcrypto 1.1.1 or later, which was not found");
    }

    private sealed class Functions(nint library)
    {
        public readonly delegate* unmanaged<int, nint, byte*, nuint, nint> NewPrivateKey = (delegate* unmanaged<int, nint, byte*, nuint, nint>)NativeLibrary.GetExport(library, "EVP_PKEY_new_raw_private_key");
        public readonly delegate* unmanaged<int, nint, byte*, nuint, nint> NewPublicKey = (delegate* unmanaged<int, nint, byte*, nuint, nint>)NativeLibrary.GetExport(library, "EVP_PKEY_new_raw_public_key");
        public readonly delegate* unmanaged<nint, byte*, nuint*, int> GetRawPublicKey = (delegate* unmanaged<nint, byte*, nuint*, int>)NativeLibrary.GetExport(library, "EVP_PKEY_get_raw_public_key");
        public readonly delegate* unmanaged<nint, void> FreeKey = (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "EVP_PKEY_free");
        public readonly delegate* unmanaged<nint> NewContext = (delegate* unmanaged<nint>)NativeLibrary.GetExport(library, "EVP_MD_CTX_new");
        public readonly delegate* unmanaged<nint, void> FreeContext = (delegate* unmanaged<nint, void>)NativeLibrary.GetExport(library, "EVP_MD_CTX_free");
        public readonly delegate* unmanaged<nint, nint, nint, nint, nint, int> SignInit = (delegate* unmanaged<nint, nint, nint, nint, nint, int>)NativeLibrary.GetExport(library, "EVP_DigestSignInit");
        public readonly delegate* unmanaged<nint, byte*, nuint*, byte*, nuint, int> Sign = (delegate* unmanaged<nint, byte*, nuint*, byte*, nuint, int>)NativeLibrary.GetExport(library, "EVP_DigestSign");
        public readonly delegate* unmanaged<nint, nint, nint, nint, nint, int> VerifyInit = (delegate* unmanaged<nint, nint, nint, nint, nint, int>)NativeLibrary.GetExport(library, "EVP_DigestVerifyInit");
        public readonly delegate* unmanaged<nint, byte*, nuint, byte*, nuint, int> Verify = (delegate* unmanaged<nint, byte*, nuint, byte*, nuint, int>)NativeLibrary.GetExport(library, "EVP_DigestVerify");
    }
}
