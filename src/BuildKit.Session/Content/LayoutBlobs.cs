using BuildKit.Oci;

namespace BuildKit.Session.Content;

/// <summary>The blobs of an OCI layout directory: <c>blobs/&lt;algorithm&gt;/&lt;hex&gt;</c>, with <c>ingest/</c> for what is being written.</summary>
internal sealed class LayoutBlobs(string root)
{
    /// <summary>Makes the folders.</summary>
    public void Initialise()
    {
        Directory.CreateDirectory(Path.Combine(root, "blobs", "sha256"));
        Directory.CreateDirectory(Path.Combine(root, "ingest"));
    }

    public FileInfo? Find(Digest digest)
    {
        var file = new FileInfo(PathOf(digest));
        return file.Exists ? file : null;
    }

    /// <summary>Gives a blob a new time of change, where the user may.</summary>
    public static void MakeYoung(FileInfo file, DateTimeOffset now)
    {
        try
        {
            file.LastWriteTimeUtc = now.UtcDateTime;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A directory that is only read, or somebody else's file: whether the blob still is there when the index changes is looked at then.
        }
    }

    public FileStream OpenRead(Digest digest) =>
        new(PathOf(digest), new FileStreamOptions { Access = FileAccess.Read, Share = FileShare.Read | FileShare.Delete, BufferSize = 0 });

    public string NewIngestPath() => Path.Combine(root, "ingest", Guid.NewGuid().ToString("N"));

    /// <summary>Gives a complete, verified file its name.</summary>
    public void Commit(string ingestPath, Digest digest)
    {
        Directory.CreateDirectory(Path.Combine(root, "blobs", digest.Algorithm));
        File.SetUnixFileMode(ingestPath, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        File.Move(ingestPath, PathOf(digest), overwrite: true);
    }

    public bool Delete(Digest digest)
    {
        if (Find(digest) is not { } file)
            return false;
        file.Delete();
        return true;
    }

    public IEnumerable<(Digest Digest, FileInfo File)> List()
    {
        var blobs = new DirectoryInfo(Path.Combine(root, "blobs"));
        if (!blobs.Exists)
            yield break;
        foreach (var algorithm in blobs.EnumerateDirectories())
        {
            foreach (var file in algorithm.EnumerateFiles())
            {
                if (Digest.TryParse($"{algorithm.Name}:{file.Name}", out var digest))
                    yield return (digest, file);
            }
        }
    }

    private string PathOf(Digest digest) => Path.Combine(root, "blobs", digest.Algorithm, digest.Hex);
}
