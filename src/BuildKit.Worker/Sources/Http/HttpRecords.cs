using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Digests;

namespace BuildKit.Worker.Sources.Http;

/// <summary>A file that was fetched, kept as a record.</summary>
/// <param name="Id">The record.</param>
/// <param name="Checksum">SHA-256 of the file.</param>
/// <param name="LastModified">The answer's Last-Modified header; empty for none.</param>
internal sealed record HttpRecord(string Id, Digest Checksum, string LastModified);

/// <summary>The files fetched over HTTP: records found again by where they came from, with what the server said (spec 06 §9.4).</summary>
internal sealed class HttpRecords(IRefStore refs, string temporaryDirectory)
{
    private const string ChecksumKey = "http.checksum";
    private const string TagKey = "etag";
    private const string TimeKey = "http.modtime";
    private const string ContentKey = "http.content";
    private const string UrlIndex = "http.url:";
    private const string ContentIndex = "http.content:";
    private const int BufferSize = 1 << 17;

    /// <summary>Earlier fetches of a source by their entity tags.</summary>
    public async Task<IReadOnlyDictionary<string, HttpRecord>> FindAsync(HttpAttributes source, CancellationToken cancellationToken)
    {
        var found = new Dictionary<string, HttpRecord>(StringComparer.Ordinal);
        foreach (var id in await refs.SearchAsync(UrlIndex + IdentityOf(source), cancellationToken))
        {
            if (refs.Exists(id) && refs.GetMetadata(id) is { } metadata && metadata.Get(TagKey) is { Length: > 0 } tag
                && Digest.TryParse(metadata.Get(ChecksumKey), out var checksum))
                found[tag] = new HttpRecord(id, checksum, metadata.Get(TimeKey) ?? "");
        }
        return found;
    }

    /// <summary>Opens a record; null when it is gone.</summary>
    public async Task<IImmutableRef?> OpenAsync(HttpRecord record, CancellationToken cancellationToken)
    {
        try
        {
            return await refs.GetAsync(record.Id, RefOptions.Default, cancellationToken);
        }
        catch (RefNotFoundException)
        {
            return null;
        }
    }

    /// <summary>
    /// Keeps an answer's body as a file. The same file from the same place is kept once, also where the server gives no
    /// entity tags.
    /// </summary>
    /// <param name="source">What was asked for; its checksum must fit.</param>
    /// <param name="answer">The answer, its body unread.</param>
    /// <param name="cancellationToken">Ends the download.</param>
    /// <returns>The owned record.</returns>
    /// <exception cref="InvalidOperationException">The body has another checksum.</exception>
    public async Task<(IImmutableRef Ref, HttpRecord Record)> SaveAsync(HttpAttributes source, HttpAnswer answer, CancellationToken cancellationToken)
    {
        var name = HttpFileName.Choose(source, answer.Disposition);
        var mutable = await refs.NewAsync(null, new RefOptions { Description = "http url " + RedactedUrl.Of(source.Url) }, cancellationToken);
        Digest checksum;
        try
        {
            await using var mounts = new MountedRefs(temporaryDirectory);
            var path = Path.Combine(await mounts.PathOfAsync(mutable, readOnly: false, cancellationToken), name);
            checksum = await WriteAsync(source, answer.Body, path, cancellationToken);
            if (source.Uid != 0 || source.Gid != 0)
                LinuxFile.Lchown(path, (uint)source.Uid, (uint)source.Gid);
            LinuxFile.Chmod(path, source.Mode);
            var time = TimeOf(answer.LastModified);
            LinuxFile.SetTimes(path, time, time);
        }
        catch
        {
            await mutable.DisposeAsync();
            throw;
        }
        var content = SourceDigest.HttpKey(name, source.Perm, source.Uid, source.Gid, checksum, answer.LastModified);
        if (await FindSameAsync(source, content, answer.ETag, cancellationToken) is { } same)
        {
            await mutable.DisposeAsync();
            return (same, new HttpRecord(same.Id, checksum, answer.LastModified));
        }
        var reference = await mutable.CommitAsync(cancellationToken);
        Describe(reference.Metadata, source, content, checksum, answer);
        return (reference, new HttpRecord(reference.Id, checksum, answer.LastModified));
    }

    private static void Describe(IRefMetadata metadata, HttpAttributes source, string content, Digest checksum, HttpAnswer answer)
    {
        var identity = IdentityOf(source);
        if (answer.ETag.Length > 0)
        {
            metadata.Set(TagKey, answer.ETag);
            metadata.Set(ChecksumKey, checksum.ToString(), UrlIndex + identity);
        }
        if (answer.LastModified.Length > 0)
            metadata.Set(TimeKey, answer.LastModified);
        metadata.Set(ContentKey, content, ContentIndex + identity + content);
        metadata.Retain = true;
    }

    private async Task<IImmutableRef?> FindSameAsync(HttpAttributes source, string content, string tag, CancellationToken cancellationToken)
    {
        foreach (var id in await refs.SearchAsync(ContentIndex + IdentityOf(source) + content, cancellationToken))
        {
            if (refs.GetMetadata(id) is not { } metadata || metadata.Get(ContentKey) != content || (metadata.Get(TagKey) ?? "") != tag)
                continue;
            try
            {
                return await refs.GetAsync(id, RefOptions.Default, cancellationToken);
            }
            catch (RefNotFoundException)
            {
                // Removed between the search and now.
            }
        }
        return null;
    }

    private static async Task<Digest> WriteAsync(HttpAttributes source, Stream body, string path, CancellationToken cancellationToken)
    {
        using var sha256 = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var asked = source.Checksum.Algorithm switch
        {
            "sha384" => IncrementalHash.CreateHash(HashAlgorithmName.SHA384),
            "sha512" => IncrementalHash.CreateHash(HashAlgorithmName.SHA512),
            _ => null,
        };
        await using (var file = new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 0, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            var buffer = new byte[BufferSize];
            while (await ReadAsync(source, body, buffer, cancellationToken) is var count and > 0)
            {
                sha256.AppendData(buffer, 0, count);
                asked?.AppendData(buffer, 0, count);
                await file.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
            }
        }
        var checksum = Digest.FromSha256(sha256.GetHashAndReset());
        var compared = asked is null ? checksum : Digest.Unchecked($"{source.Checksum.Algorithm}:{Convert.ToHexStringLower(asked.GetHashAndReset())}");
        return source.Checksum.IsEmpty || compared == source.Checksum
            ? checksum
            : throw new InvalidOperationException($"digest mismatch {compared}: {source.Checksum}");
    }

    private static async ValueTask<int> ReadAsync(HttpAttributes source, Stream body, byte[] buffer, CancellationToken cancellationToken)
    {
        try
        {
            return await body.ReadAsync(buffer, cancellationToken);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && exception is HttpIOException or IOException or InvalidDataException)
        {
            var cause = Registry.Http.HttpDial.Explain(exception).Cause;
            throw new IOException($"failed to read {RedactedUrl.Of(source.Url)}: {(cause == "EOF" ? "unexpected EOF" : cause)}", exception);
        }
    }

    /// <summary>The time a file gets: that of the header, or the beginning of time.</summary>
    private static UnixTime TimeOf(string lastModified)
    {
        string[] formats = ["ddd, dd MMM yyyy HH:mm:ss 'GMT'", "dddd, dd-MMM-yy HH:mm:ss 'GMT'", "ddd MMM d HH:mm:ss yyyy"];
        return DateTimeOffset.TryParseExact(
            lastModified, formats, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AllowInnerWhite, out var time)
            ? new UnixTime(time.ToUnixTimeSeconds(), 0)
            : new UnixTime(0, 0);
    }

    /// <summary>What is fetched and how it is kept, in the reference's form; it is used inside this daemon only.</summary>
    private static string IdentityOf(HttpAttributes source)
    {
        var json = new CanonicalJsonWriter();
        json.WriteStartObject();
        json.WriteName("Filename");
        json.WriteString(Convert.ToBase64String(Encoding.UTF8.GetBytes(source.Url + "\0" + source.Filename)));
        json.WriteName("Perm");
        json.WriteNumber((long)source.Perm);
        json.WriteName("UID");
        json.WriteNumber((long)source.Uid);
        json.WriteName("GID");
        json.WriteNumber((long)source.Gid);
        json.WriteEndObject();
        return Digest.Sha256(json.WrittenSpan).ToString();
    }
}
