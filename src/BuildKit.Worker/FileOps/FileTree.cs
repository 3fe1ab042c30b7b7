using BuildKit.Linux;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Worker.FileOps;

/// <summary>A mounted tree that actions work on. Paths are relative, without links; empty is the root.</summary>
internal sealed class FileTree(string path) : IDisposable
{
    internal SafeFileHandle Root { get; } = LinuxFile.OpenDirectory(path);

    internal string Full(string relative) => relative.Length == 0 ? path : $"{path.TrimEnd('/')}/{relative}";

    /// <summary>Resolves links inside the tree; what does not exist is kept.</summary>
    internal string Resolve(string inTree, bool followLast = true) => RootedPath.Resolve(Root, inTree, followLast);

    internal bool TryLstat(string relative, out FileStat stat) => LinuxFile.TryLstat(Root, Name(relative), out stat);

    internal Errno LstatErrno(string relative, out FileStat stat) => LinuxFile.LstatErrno(Root, Name(relative), out stat);

    internal static string Name(string relative) => relative.Length == 0 ? "." : relative;

    internal static string Parent(string relative)
    {
        var slash = relative.LastIndexOf('/');
        return slash < 0 ? "" : relative[..slash];
    }

    internal static string Join(string directory, string name) => directory.Length == 0 ? name : name.Length == 0 ? directory : $"{directory}/{name}";

    /// <summary>Makes a directory with missing parents; returns those made, outermost first. Owner and time are set on
    /// each as it is made. Errors name paths inside the tree.</summary>
    internal List<string> MakeDirectories(string relative, uint permissions, FileOwner? owner, UnixTime? time)
    {
        var made = new List<string>();
        Make(relative);
        return made;

        void Make(string path)
        {
            var errno = LstatErrno(path, out var stat);
            if (errno == Errno.None)
            {
                if (!stat.IsDirectory)
                    throw new LinuxException(Errno.ENOTDIR, "mkdir", "/" + path);
                return;
            }
            if (errno != Errno.ENOENT)
                throw new LinuxException(errno, "lstat", "/" + path);
            if (path.Length > 0)
                Make(Parent(path));
            MakeDirectory(path, permissions, owner, time);
            made.Add(path);
        }
    }

    internal void MakeDirectory(string relative, uint permissions, FileOwner? owner, UnixTime? time)
    {
        var errno = LinuxFile.TryMkdir(Root, relative, permissions);
        if (errno != Errno.None)
            throw new LinuxException(errno, "mkdir", "/" + relative);
        Own(relative, owner);
        LinuxFile.Chmod(Root, relative, permissions);
        SetTime(relative, time);
    }

    /// <summary>Gives a file the owner asked for; without one it keeps the daemon's, or the one it had.</summary>
    internal void Own(string relative, FileOwner? owner)
    {
        if (owner is var (uid, gid))
            LinuxFile.Lchown(Root, Name(relative), uid, gid);
    }

    internal void SetTime(string relative, UnixTime? time)
    {
        if (time is not null)
            LinuxFile.SetTimes(Root, Name(relative), time, time);
    }

    public void Dispose() => Root.Dispose();
}
