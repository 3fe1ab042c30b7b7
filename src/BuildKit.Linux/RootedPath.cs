using System.Text;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Linux;

/// <summary>
/// Paths inside a root directory: symlinks are followed as if the root were <c>/</c>, so that none leads out
/// (absolute targets restart at the root, <c>..</c> stops at it).
/// </summary>
public static class RootedPath
{
    /// <summary>More links than this in one path are a loop.</summary>
    public const int MaxLinks = 255;

    /// <summary>
    /// The path beneath the root with all links of existing components replaced; components that do not exist are
    /// kept as they are. The result has no leading slash, no <c>.</c> or <c>..</c>; it is empty for the root.
    /// </summary>
    /// <param name="root">Open directory (may be path-only).</param>
    /// <param name="path">Any path; a leading slash means the root.</param>
    /// <param name="followLast">Whether a link in the last component is followed too.</param>
    /// <exception cref="LinuxException">ELOOP after <see cref="MaxLinks"/> links.</exception>
    public static string Resolve(SafeFileHandle root, string path, bool followLast)
    {
        var done = new StringBuilder();
        var pending = new Stack<string>();
        Push(path);
        var links = 0;
        while (pending.TryPop(out var name))
        {
            if (name is "" or ".")
                continue;
            if (name == "..")
            {
                done.Length = Math.Max(0, done.ToString().LastIndexOf('/'));
                continue;
            }
            var length = done.Length;
            if (length > 0)
                done.Append('/');
            done.Append(name);
            if (!followLast && IsLast())
                break;
            var errno = LinuxFile.TryReadLink(root, done.ToString(), out var target);
            if (errno is Errno.EINVAL or Errno.ENOENT or Errno.ENOTDIR)
                continue;
            if (errno != Errno.None)
                throw new LinuxException(errno, "readlink", done.ToString());
            if (++links > MaxLinks)
                throw new LinuxException(Errno.ELOOP, "resolve", path);
            done.Length = target!.StartsWith('/') ? 0 : length;
            Push(target);
        }
        return done.ToString();

        bool IsLast()
        {
            foreach (var rest in pending)
            {
                if (rest is not ("" or "."))
                    return false;
            }
            return true;
        }

        void Push(string text)
        {
            var parts = text.Split('/');
            for (var i = parts.Length - 1; i >= 0; i--)
                pending.Push(parts[i]);
        }
    }

    /// <summary>The absolute path of <see cref="Resolve(SafeFileHandle, string, bool)"/> under a root directory.</summary>
    public static string Resolve(string root, string path, bool followLast)
    {
        using var handle = LinuxFile.Open(root, OpenFlags.PathOnly | OpenFlags.Directory);
        var inside = Resolve(handle, path, followLast);
        return inside.Length == 0 ? root : root.TrimEnd('/') + "/" + inside;
    }

    /// <summary>Opens an existing path beneath a root, following links inside it; the error number when that fails.</summary>
    public static Errno TryOpen(SafeFileHandle root, string path, int flags, out SafeFileHandle? handle)
    {
        var relative = path.TrimStart('/');
        var errno = LinuxFile.TryOpenResolved(root, relative.Length == 0 ? "." : relative, flags, 0, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out handle);
        // ENOSYS, EPERM: no openat2 here. ELOOP: the kernel's limit is 40 links, ours is larger.
        if (errno is not (Errno.ENOSYS or Errno.EPERM or Errno.ELOOP) || (flags & OpenFlags.NoFollow) != 0 && errno == Errno.ELOOP)
            return errno;
        var resolved = Resolve(root, path, followLast: (flags & OpenFlags.NoFollow) == 0);
        return LinuxFile.TryOpen(root, resolved.Length == 0 ? "." : resolved, flags | OpenFlags.NoFollow, 0, out handle);
    }
}
