using BuildKit.Linux;
using BuildKit.Linux.Patterns;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Session.FileSync;

/// <summary>
/// Turns follow paths into the paths of all links on the way and of the final target (spec 01 §5.5
/// "Followpaths resolution"). Nothing outside the root is looked at.
/// </summary>
internal sealed class LinkResolver(SafeFileHandle root)
{
    private readonly HashSet<string> _resolved = new(StringComparer.Ordinal);

    /// <summary>The resolved paths sorted and thinned; null when the root itself is among them.</summary>
    public IReadOnlyList<string>? Resolve(IReadOnlyList<string> paths)
    {
        foreach (var path in paths)
            Add(path);
        return PathFilter.Thin([.. _resolved.Order(LinuxText.ByteOrder)]);
    }

    private void Add(string path)
    {
        var rest = UnixPath.Clean("./" + path);
        var current = ".";
        while (true)
        {
            var slash = rest.IndexOf('/', StringComparison.Ordinal);
            current = UnixPath.Join(current, slash < 0 ? rest : rest[..slash]);
            rest = slash < 0 ? "" : rest[(slash + 1)..];
            var targets = LinkTargets(current, allowWildcard: true);
            if (rest.Length > 0 && targets is null)
                continue;
            if (!_resolved.Add(current) || targets is null)
                return;
            foreach (var target in targets)
                Add(UnixPath.Join(target, rest));
            return;
        }
    }

    // Null unless the path is a link, or a wildcard that at least one link matches.
    private List<string>? LinkTargets(string path, bool allowWildcard)
    {
        if (path is "." or ".." || path.StartsWith("../", StringComparison.Ordinal))
            return null;
        var directory = UnixPath.Directory(path);
        var name = UnixPath.Base(path);
        if (!allowWildcard || !HasWildcard(name))
            return ReadLink(path, directory);
        if (ReadNames(directory) is not { } names)
            return null;
        PathGlob glob;
        try
        {
            glob = PathGlob.Parse(name);
        }
        catch (PatternSyntaxException)
        {
            return null;
        }
        List<string>? targets = null;
        foreach (var entry in names)
        {
            if (glob.IsMatch(entry.Name) && LinkTargets(UnixPath.Join(directory, entry.Name), allowWildcard: false) is { } found)
                (targets ??= []).AddRange(found);
        }
        return targets;
    }

    private List<string>? ReadLink(string path, string directory)
    {
        var errno = LinuxFile.TryReadLink(root, path, out var target);
        switch (errno)
        {
            case Errno.None:
                var cleaned = UnixPath.Clean(target!);
                return [cleaned.StartsWith('/') ? cleaned : UnixPath.Join("/", UnixPath.Join(directory, cleaned))];
            case Errno.EINVAL or Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP:
                return null;
            default:
                throw new LinuxException(errno, "lstat", path);
        }
    }

    private List<DirectoryEntry>? ReadNames(string directory)
    {
        var errno = LinuxFile.TryOpen(root, directory, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, 0, out var handle);
        if (errno is Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP)
            return null;
        if (errno != Errno.None)
            throw new LinuxException(errno, "open", directory);
        using (handle)
        {
            var entries = LinuxDirectory.Read(handle!);
            entries.Sort(static (a, b) => LinuxText.CompareBytes(a.Name, b.Name));
            return entries;
        }
    }

    private static bool HasWildcard(string name)
    {
        for (var i = 0; i < name.Length; i++)
        {
            if (name[i] == '\\')
                i++;
            else if (name[i] is '*' or '?' or '[')
                return true;
        }
        return false;
    }
}
