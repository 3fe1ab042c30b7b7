using System.Runtime.InteropServices;

namespace BuildKit.Linux;

/// <summary>A system call failed. The message is <c>operation path: text</c>, as Go's path errors print.</summary>
public sealed class LinuxException : IOException
{
    /// <summary>Names what was done, on what, and why it failed.</summary>
    public LinuxException(Errno errno, string operation, string path)
        : base(path.Length == 0 ? $"{operation}: {ErrnoText.Of(errno)}" : $"{operation} {path}: {ErrnoText.Of(errno)}", (int)errno)
    {
        Errno = errno;
        Operation = operation;
        Path = path;
    }

    /// <summary>The error number.</summary>
    public Errno Errno { get; }

    /// <summary>The operation, for example <c>mkdir</c>.</summary>
    public string Operation { get; }

    /// <summary>The path worked on; two paths are separated by a space; empty when there is none.</summary>
    public string Path { get; }

    /// <summary>Whether the path or one of its parents does not exist.</summary>
    public bool IsNotFound => Errno is Errno.ENOENT;

    /// <summary>The exception for the last failed P/Invoke of this thread.</summary>
    internal static LinuxException Last(string operation, string path) =>
        new((Errno)Marshal.GetLastPInvokeError(), operation, path);

    internal static Errno LastErrno => (Errno)Marshal.GetLastPInvokeError();
}
