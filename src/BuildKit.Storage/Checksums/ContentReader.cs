using System.Buffers;
using System.Security.Cryptography;
using BuildKit.Linux;
using BuildKit.Oci;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Checksums;

/// <summary>Hashes files on disk.</summary>
internal static class ContentReader
{
    /// <summary>Header and, for a regular file, content.</summary>
    internal static async ValueTask<(Digest Digest, ContentStat Stat)> HashAsync(SafeFileHandle root, string path, CancellationToken cancellationToken)
    {
        var header = ContentHeader.Read(root, path);
        return (await HashAsync(root, path, header, cancellationToken).ConfigureAwait(false), header.Stat);
    }

    /// <summary>The digest the file would have with this header.</summary>
    internal static async ValueTask<Digest> HashAsync(SafeFileHandle root, string path, ContentHeader header, CancellationToken cancellationToken)
    {
        using var hash = header.StartHash();
        if ((header.Mode & UnixMode.TypeMask) == UnixMode.Regular && header.Size > 0)
        {
            using var file = LinuxFile.Open(root, path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
            var buffer = ArrayPool<byte>.Shared.Rent(256 << 10);
            try
            {
                int read;
                for (long offset = 0; (read = await RandomAccess.ReadAsync(file, buffer, offset, cancellationToken).ConfigureAwait(false)) > 0; offset += read)
                    hash.AppendData(buffer, 0, read);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
        return Digest.FromSha256(hash.GetHashAndReset());
    }
}

/// <summary>Hashes names and digests with NUL bytes between.</summary>
internal sealed class ContentJoin
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>NUL, then the digest.</summary>
    internal void AppendSeparated(Digest digest) => AppendSeparated("", digest);

    /// <summary>NUL, then name and digest.</summary>
    internal void AppendSeparated(string name, Digest digest)
    {
        _hash.AppendData([0]);
        Append(name, digest);
    }

    internal void Append(string name, Digest digest)
    {
        _hash.AppendData(LinuxText.Encode(name));
        _hash.AppendData(LinuxText.Encode(digest.ToString()));
    }

    internal Digest Finish()
    {
        var digest = Digest.FromSha256(_hash.GetHashAndReset());
        _hash.Dispose();
        return digest;
    }
}
