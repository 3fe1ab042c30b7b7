using BuildKit.Linux;

namespace BuildKit.Session.FileSend;

/// <summary>
/// A file that appears under its name only when it was written whole: <see cref="Commit"/>, else nothing is left. A name
/// that is no file (<c>/dev/null</c>, a pipe) is written to as it is, never replaced.
/// </summary>
public sealed class AtomicFileStream : FileStream
{
    private readonly string _path;
    private readonly string _temporary;
    private bool _isOpen;

    private AtomicFileStream(string path, string temporary)
        : base(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0)
    {
        _path = path;
        _temporary = temporary;
        _isOpen = true;
    }

    private AtomicFileStream(string path)
        : base(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0) => _path = _temporary = path;

    /// <summary>Starts a file; one that exists under the name stays until the commit.</summary>
    public static AtomicFileStream Create(string path) => IsSpecial(path)
        ? new AtomicFileStream(path)
        : new(path, Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}.tmp"));

    /// <summary>Closes the file and gives it its name.</summary>
    public void Commit()
    {
        Flush();
        var isTemporary = _isOpen;
        _isOpen = false;
        Dispose();
        if (isTemporary)
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

    /// <summary>Whether there is something under the name, through links, that is no regular file.</summary>
    public static bool IsSpecial(string path)
    {
        try
        {
            var stat = LinuxFile.Stat(path);
            return !stat.IsRegular && !stat.IsDirectory;
        }
        catch (LinuxException missing) when (missing.Errno is Errno.ENOENT or Errno.ENOTDIR)
        {
            return false;
        }
    }
}
