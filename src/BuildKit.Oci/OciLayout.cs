using System.Diagnostics;
using System.Security.Cryptography;

namespace BuildKit.Oci;

/// <summary>
/// An OCI image layout directory: <c>oci-layout</c>, <c>index.json</c> and <c>blobs/&lt;algorithm&gt;/&lt;hex&gt;</c>.
/// Files appear complete or not at all, every blob is verified while it is written. Several processes may write the
/// same directory: blobs are named by content and the index is changed under a lock file.
/// </summary>
/// <param name="directory">The directory; it need not exist yet when writing.</param>
public sealed class OciLayout(string directory)
{
    /// <summary>Annotation naming an image in <c>index.json</c> in full.</summary>
    public const string ImageNameAnnotation = "io.containerd.image.name";

    /// <summary>Annotation naming an image in <c>index.json</c> by its tag.</summary>
    public const string RefNameAnnotation = "org.opencontainers.image.ref.name";

    private const string LayoutFile = """{"imageLayoutVersion":"1.0.0"}""";
    private static readonly TimeSpan LongestWait = TimeSpan.FromMinutes(1);
    private const UnixFileMode FileMode0644 = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    /// <summary>The directory of the layout.</summary>
    public string DirectoryPath { get; } = directory;

    /// <summary>Where a blob is, whether it exists or not.</summary>
    public string BlobPath(Digest digest) => Path.Combine(DirectoryPath, "blobs", digest.Algorithm, digest.Hex);

    /// <summary>Whether a blob is there.</summary>
    public bool HasBlob(Digest digest) => File.Exists(BlobPath(digest));

    /// <summary>Reads <c>index.json</c>; an empty index when the file does not exist.</summary>
    /// <exception cref="FormatException">The file is no index.</exception>
    public async Task<ImageIndex> ReadIndexAsync(CancellationToken cancellationToken = default)
    {
        var path = IndexPath;
        return File.Exists(path)
            ? ImageIndex.Parse(await File.ReadAllBytesAsync(path, cancellationToken))
            : new ImageIndex(MediaTypes.OciIndex, []);
    }

    /// <summary>Opens a blob; the caller disposes it and verifies what it reads.</summary>
    /// <exception cref="FileNotFoundException">No such blob.</exception>
    public Stream OpenBlob(Digest digest)
    {
        var path = BlobPath(digest);
        try
        {
            return new FileStream(path, new FileStreamOptions { Access = FileAccess.Read, Share = FileShare.Read | FileShare.Delete, Options = FileOptions.Asynchronous });
        }
        catch (DirectoryNotFoundException)
        {
            throw new FileNotFoundException($"content {digest}: not found in layout {DirectoryPath}", path);
        }
        catch (FileNotFoundException)
        {
            throw new FileNotFoundException($"content {digest}: not found in layout {DirectoryPath}", path);
        }
    }

    /// <summary>Reads a whole small blob and verifies it.</summary>
    /// <exception cref="FileNotFoundException">No such blob.</exception>
    /// <exception cref="InvalidDataException">The bytes are not the ones the descriptor names.</exception>
    public async Task<byte[]> ReadBlobAsync(Descriptor descriptor, CancellationToken cancellationToken = default)
    {
        await using var source = OpenBlob(descriptor.Digest);
        var bytes = new byte[source.Length];
        await source.ReadExactlyAsync(bytes, cancellationToken);
        await using var verified = new VerifyingStream(new MemoryStream(bytes), descriptor.Digest, descriptor.Size);
        await verified.CopyToAsync(Stream.Null, cancellationToken);
        return bytes;
    }

    /// <summary>Creates the directory, <c>oci-layout</c> and <c>blobs/sha256</c> where missing.</summary>
    public async Task InitializeAsync(CancellationToken cancellationToken = default)
    {
        Directory.CreateDirectory(Path.Combine(DirectoryPath, "blobs", "sha256"));
        var path = Path.Combine(DirectoryPath, "oci-layout");
        if (!File.Exists(path))
            await ReplaceAsync(path, System.Text.Encoding.ASCII.GetBytes(LayoutFile), cancellationToken);
    }

    /// <summary>Writes a blob, verifying size and digest; does nothing when it is there already.</summary>
    /// <exception cref="InvalidDataException">The bytes are not the ones named; nothing was written.</exception>
    public async Task WriteBlobAsync(Digest digest, long size, Stream content, CancellationToken cancellationToken = default)
    {
        var path = BlobPath(digest);
        if (File.Exists(path))
            return;
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var temporary = TemporaryFor(path);
        try
        {
            await using (var verified = new VerifyingStream(content, digest, size, leaveOpen: true))
            await using (var file = Create(temporary))
            {
                await verified.CopyToAsync(file, cancellationToken);
                await file.FlushAsync(cancellationToken);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes a small blob.</summary>
    public async Task<Descriptor> WriteBlobAsync(string mediaType, ReadOnlyMemory<byte> content, CancellationToken cancellationToken = default)
    {
        var descriptor = Descriptor.Of(mediaType, content.Span);
        using var stream = new MemoryStream(content.ToArray(), writable: false);
        await WriteBlobAsync(descriptor.Digest, descriptor.Size, stream, cancellationToken);
        return descriptor;
    }

    /// <summary>
    /// Enters a descriptor into <c>index.json</c>, once per name, replacing entries of the same name (spec 07 §6): with
    /// names, as <c>io.containerd.image.name</c> and <c>org.opencontainers.image.ref.name</c>; without any, under the tag.
    /// </summary>
    public async Task AddToIndexAsync(Descriptor descriptor, IReadOnlyList<ImageReference> names, string tag = "latest", CancellationToken cancellationToken = default)
    {
        await InitializeAsync(cancellationToken);
        await using var guard = await LockAsync(cancellationToken);
        await EnterAsync(await ReadIndexAsync(cancellationToken), descriptor, names, tag, cancellationToken);
    }

    /// <summary>Changes what a tag of <c>index.json</c> points at. Nobody else changes the index meanwhile.</summary>
    /// <param name="tag">The tag.</param>
    /// <param name="change">Makes the new descriptor from the one that is there (null for none), or null to leave it.</param>
    /// <param name="cancellationToken">Ends the wait for the lock and the change.</param>
    public async Task ChangeTagAsync(string tag, Func<Descriptor?, Task<Descriptor?>> change, CancellationToken cancellationToken = default)
    {
        await InitializeAsync(cancellationToken);
        await using var guard = await LockAsync(cancellationToken);
        var index = await ReadIndexAsync(cancellationToken);
        if (await change(index.FindTag(tag)) is { } changed)
            await EnterAsync(index, changed, [], tag, cancellationToken);
    }

    private async Task EnterAsync(ImageIndex index, Descriptor descriptor, IReadOnlyList<ImageReference> names, string tag, CancellationToken cancellationToken)
    {
        var manifests = index.Manifests.ToList();
        var entries = names.Count == 0
            ? [(Name: "", Ref: tag)]
            : names.Select(name => (Name: name.ToString(), Ref: name.Object));
        foreach (var (name, reference) in entries)
        {
            manifests.RemoveAll(manifest => Annotation(manifest, ImageNameAnnotation) == name && Annotation(manifest, RefNameAnnotation) == reference);
            var annotations = new Dictionary<string, string>(descriptor.Annotations, StringComparer.Ordinal) { [RefNameAnnotation] = reference };
            if (name.Length > 0)
                annotations[ImageNameAnnotation] = name;
            manifests.Add(descriptor with { Annotations = annotations });
        }
        var updated = index with
        {
            SchemaVersion = index.SchemaVersion == 0 ? 2 : index.SchemaVersion,
            MediaType = index.MediaType.Length == 0 ? MediaTypes.OciIndex : index.MediaType,
            Manifests = manifests,
        };
        await ReplaceAsync(IndexPath, updated.ToJson(indented: false), cancellationToken);
    }

    private string IndexPath => Path.Combine(DirectoryPath, "index.json");

    private static string Annotation(Descriptor descriptor, string key) => descriptor.Annotations.GetValueOrDefault(key, "");

    private static string TemporaryFor(string path) => path + ".tmp-" + RandomNumberGenerator.GetHexString(16, lowercase: true);

    private static FileStream Create(string path) => new(path, new FileStreamOptions
    {
        Mode = FileMode.CreateNew,
        Access = FileAccess.Write,
        Options = FileOptions.Asynchronous,
        UnixCreateMode = FileMode0644,
    });

    private static async Task ReplaceAsync(string path, byte[] content, CancellationToken cancellationToken)
    {
        var temporary = TemporaryFor(path);
        try
        {
            await using (var file = Create(temporary))
                await file.WriteAsync(content, cancellationToken);
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Takes <c>index.json.lock</c>; disposing gives it back and removes it.</summary>
    private async Task<FileStream> LockAsync(CancellationToken cancellationToken)
    {
        var path = IndexPath + ".lock";
        var since = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
                // Whoever held it before has removed the file: who opened that one holds nothing.
                if (new FileInfo($"/proc/self/fd/{file.SafeFileHandle.DangerousGetHandle()}").LinkTarget is not { } target || !target.EndsWith(" (deleted)", StringComparison.Ordinal))
                    return file;
                await file.DisposeAsync();
            }
            catch (IOException) when (since.Elapsed < LongestWait)
            {
                await Task.Delay(20, cancellationToken);
            }
        }
    }
}
