using System.Runtime.CompilerServices;
using BuildKit.Database;
using BuildKit.Oci;

namespace BuildKit.Storage.Content;

/// <summary>
/// Blobs as files <c>blobs/&lt;algorithm&gt;/&lt;hex&gt;</c>, what is being written as <c>ingest/*</c>, labels in the
/// database. A blob is here when its row is: the file is complete, verified and renamed before the row is written,
/// and the row goes before the file. <see cref="Sweep"/> removes what a killed process left between the two.
/// </summary>
public sealed class FileContentStore : IContentStore
{
    private readonly string _blobs;
    private readonly SqliteDatabase _database;
    private readonly TimeProvider _time;

    // Held while a file and its row appear or disappear together, never while bytes flow.
    private readonly Lock _naming = new();
    private readonly Dictionary<string, Ingest> _ingests = new(StringComparer.Ordinal);

    /// <summary>Opens (makes) the store below <paramref name="root"/>.</summary>
    public FileContentStore(string root, SqliteDatabase database, TimeProvider time)
    {
        _blobs = Path.Combine(root, "blobs");
        IngestDirectory = Path.Combine(root, "ingest");
        _database = database;
        _time = time;
        Directory.CreateDirectory(Path.Combine(_blobs, "sha256"));
        Directory.CreateDirectory(IngestDirectory);
    }

    internal string IngestDirectory { get; }

    /// <summary>Removes partial ingests, files without a row and rows without their file. Only at start, before any use.</summary>
    public void Sweep()
    {
        foreach (var file in Directory.EnumerateFiles(IngestDirectory))
            File.Delete(file);
        var rows = _database.Read(c => c.Query("SELECT digest, size FROM blobs", static row => (Digest: row.String(0), Size: row.Int64(1))))
            .ToDictionary(row => row.Digest, row => row.Size, StringComparer.Ordinal);
        foreach (var directory in Directory.EnumerateDirectories(_blobs))
        {
            foreach (var file in new DirectoryInfo(directory).EnumerateFiles())
            {
                var digest = $"{Path.GetFileName(directory)}:{file.Name}";
                if (!rows.TryGetValue(digest, out var size) || size != file.Length)
                    file.Delete();
                else
                    rows.Remove(digest);
            }
        }

        if (rows.Count == 0)
            return;
        _database.Write(c =>
        {
            foreach (var digest in rows.Keys)
                c.Execute("DELETE FROM blobs WHERE digest = ?1", digest);
        });
    }

    /// <inheritdoc/>
    public ValueTask<BlobInfo?> GetInfoAsync(Digest digest, CancellationToken cancellationToken) =>
        new(_database.Read(c => ReadInfo(c, digest)));

    /// <summary>Whether a blob is here.</summary>
    public bool Contains(Digest digest) =>
        _database.Read(c => c.QueryInt64("SELECT 1 FROM blobs WHERE digest = ?1", digest.ToString())) == 1;

    /// <inheritdoc/>
    public ValueTask<Stream> OpenAsync(Digest digest, CancellationToken cancellationToken)
    {
        if (!Contains(digest))
            throw new BlobNotFoundException(digest);
        try
        {
            return new(new FileStream(PathOf(digest), FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0, FileOptions.SequentialScan));
        }
        catch (FileNotFoundException)
        {
            throw new BlobNotFoundException(digest);
        }
    }

    /// <inheritdoc/>
    public async ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
    {
        var stream = await OpenAsync(descriptor.Digest, cancellationToken);
        stream.Position = offset;
        return stream;
    }

    /// <inheritdoc/>
    public async ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) =>
        await GetInfoAsync(descriptor.Digest, cancellationToken) is { } info ? descriptor with { Size = info.Size } : null;

    /// <inheritdoc/>
    public async ValueTask<IBlobWriter> OpenWriterAsync(string reference, CancellationToken cancellationToken)
    {
        Ingest ingest;
        lock (_naming)
        {
            if (!_ingests.TryGetValue(reference, out ingest!))
                _ingests.Add(reference, ingest = new Ingest());
            ingest.Users++;
        }

        try
        {
            await ingest.Turn.WaitAsync(cancellationToken);
        }
        catch
        {
            LeaveIngest(reference, ingest);
            throw;
        }

        try
        {
            return new FileBlobWriter(this, reference, ingest, Path.Combine(IngestDirectory, Digest.Sha256(reference).Hex));
        }
        catch
        {
            ingest.Turn.Release();
            LeaveIngest(reference, ingest);
            throw;
        }
    }

    /// <inheritdoc/>
    public ValueTask UpdateLabelsAsync(Digest digest, IReadOnlyDictionary<string, string> labels, CancellationToken cancellationToken)
    {
        _database.Write(c =>
        {
            c.Execute("UPDATE blobs SET updated = ?2 WHERE digest = ?1", digest.ToString(), Now);
            if (c.Changes == 0)
                throw new BlobNotFoundException(digest);
            WriteLabels(c, digest, labels);
        });
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask DeleteAsync(Digest digest, CancellationToken cancellationToken)
    {
        lock (_naming)
        {
            var removed = _database.Write(c =>
            {
                c.Execute("DELETE FROM blobs WHERE digest = ?1", digest.ToString());
                return c.Changes;
            });
            if (removed != 0)
                File.Delete(PathOf(digest));
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Deletes the files of those blobs whose rows <paramref name="forget"/> deleted. No blob appears meanwhile.</summary>
    internal void Collect(Func<IReadOnlyList<Digest>> forget)
    {
        lock (_naming)
        {
            foreach (var digest in forget())
                File.Delete(PathOf(digest));
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<BlobInfo> ListAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var digests = _database.Read(c => c.Query("SELECT digest FROM blobs", static row => Digest.Unchecked(row.String(0))));
        foreach (var digest in digests)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (await GetInfoAsync(digest, cancellationToken) is { } info)
                yield return info;
        }
    }

    private long Now => StorageSchema.ToNanoseconds(_time.GetUtcNow());

    internal string PathOf(Digest digest) => Path.Combine(_blobs, digest.Algorithm, digest.Hex);

    internal void LeaveIngest(string reference, Ingest ingest)
    {
        lock (_naming)
        {
            if (--ingest.Users == 0)
                _ingests.Remove(reference);
        }
    }

    /// <summary>Moves a complete, verified and synced file into its place and records it.</summary>
    internal void Adopt(string file, Digest digest, long size, IReadOnlyDictionary<string, string> labels)
    {
        var target = PathOf(digest);
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        lock (_naming)
        {
            File.Move(file, target, overwrite: true);
            _database.Write(c =>
            {
                c.Execute(
                    "INSERT INTO blobs VALUES (?1, ?2, ?3, ?3) ON CONFLICT (digest) DO UPDATE SET updated = ?3",
                    digest.ToString(), size, Now);
                WriteLabels(c, digest, labels);
            });
        }
    }

    private static void WriteLabels(SqliteConnection c, Digest digest, IReadOnlyDictionary<string, string> labels)
    {
        foreach (var (key, value) in labels)
        {
            if (value.Length == 0)
                c.Execute("DELETE FROM blob_labels WHERE digest = ?1 AND key = ?2", digest.ToString(), key);
            else
                c.Execute("INSERT INTO blob_labels VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3", digest.ToString(), key, value);
        }
    }

    private static BlobInfo? ReadInfo(SqliteConnection c, Digest digest)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal);
        var info = c.QueryFirst(
            "SELECT size, created, updated FROM blobs WHERE digest = ?1",
            row => new BlobInfo(digest, row.Int64(0), StorageSchema.FromNanoseconds(row.Int64(1)), StorageSchema.FromNanoseconds(row.Int64(2)), labels),
            digest.ToString());
        if (info is null)
            return null;
        foreach (var (key, value) in c.Query("SELECT key, value FROM blob_labels WHERE digest = ?1", static row => (row.String(0), row.String(1)), digest.ToString()))
            labels[key] = value;
        return info;
    }

    /// <summary>The turn of writers with one reference.</summary>
    internal sealed class Ingest
    {
        public SemaphoreSlim Turn { get; } = new(1, 1);

        public int Users { get; set; }
    }
}
