using BuildKit.Linux;

namespace BuildKit.Session.FileSend;

/// <summary>A file that appears under its name only when it was written whole: <see cref="Commit"/>, else nothing is left.</summary>
public sealed class AtomicFileStream : FileStream
{
    private readonly string _path;
    private readonly string _temporary;
    private bool _isOpen = true;

    private AtomicFileStream(string path, string temporary)
        : base(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0)
    {
        _path = path;
        _temporary = temporary;
    }

    /// <summary>Starts a file; one that exists under the name stays until the commit.</summary>
    public static AtomicFileStream Create(string path) =>
        new(path, Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}.tmp"));

    /// <summary>Closes the file and gives it its name.</summary>
    public void Commit()
    {
        Flush();
        _isOpen = false;
        Dispose();
        LinuxFile.Rename(_temporary, Path.GetFullPath(_path));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (_isOpen && disposing)
        {
            _isOpen = false;
            File.Delete(_temporary);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Dispose(true);
    }
}
