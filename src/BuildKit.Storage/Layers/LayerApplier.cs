using BuildKit.Linux;
using BuildKit.Storage.Layers.Tar;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Layers;

/// <summary>
/// Unpacks one archive beneath a root directory. Every path is resolved inside the root before it is used, and
/// every change names its file by a handle of the resolved parent directory, opened without following links.
/// </summary>
internal sealed class LayerApplier : IDisposable
{
    private const string OpaqueMarker = ".wh..wh..opq";
    private static readonly UnixTime LastTime = UnixTime.FromNanoseconds(long.MaxValue);

    private readonly string _rootPath;
    private readonly SafeFileHandle _root;
    private readonly OverlayWhiteouts? _overlay;
    private readonly bool _skipDevices;
    private readonly List<TarHeader> _directories = [];
    private readonly HashSet<string> _unpacked = new(StringComparer.Ordinal);
    private readonly byte[] _buffer = new byte[256 << 10];
    private string? _parentName;
    private string _parentPath = "";
    private SafeFileHandle? _parent;

    /// <param name="rootPath">Directory to unpack into.</param>
    /// <param name="overlay">Set when the directory is the upper one of an overlay.</param>
    /// <param name="skipDevices">Device files cannot be made here (user namespace).</param>
    internal LayerApplier(string rootPath, OverlayWhiteouts? overlay, bool skipDevices)
    {
        _rootPath = rootPath.TrimEnd('/');
        _root = LinuxFile.OpenDirectory(rootPath);
        _overlay = overlay;
        _skipDevices = skipDevices;
    }

    /// <summary>Whiteout names mean nothing, and refused attributes are no error.</summary>
    internal bool IsPlainArchive { get; init; }

    public void Dispose()
    {
        _parent?.Dispose();
        _root.Dispose();
    }

    internal async Task ApplyAsync(Stream archive, CancellationToken cancellationToken)
    {
        var reader = new TarReader(archive);
        while (await reader.NextAsync(cancellationToken).ConfigureAwait(false) is { } header)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await ApplyEntryAsync(reader, header with { Name = GoPath.Clean(header.Name) }, cancellationToken).ConfigureAwait(false);
        }
        foreach (var header in _directories)
        {
            var path = Resolve(header.Name);
            LinuxFile.SetTimes(_root, path.Length == 0 ? "." : path, Bound(AccessTime(header)), Bound(header.Mtime));
        }
    }

    private async ValueTask ApplyEntryAsync(TarReader reader, TarHeader header, CancellationToken cancellationToken)
    {
        if (_skipDevices && header.Type is TarType.Block or TarType.Char)
            return;
        var slash = header.Name.LastIndexOf('/') + 1;
        var name = header.Name[slash..];
        if (name is "" or "." or "..")
            return; // the root itself: a layer does not change it
        OpenParent(header.Name[..slash]);
        var path = _parentPath.Length == 0 ? name : $"{_parentPath}/{name}";
        if (name == OpaqueMarker && !IsPlainArchive)
        {
            MakeOpaque();
            return;
        }
        if (name.StartsWith(LayerTarWriter.WhiteoutPrefix, StringComparison.Ordinal) && !IsPlainArchive)
        {
            Delete(header, name);
            return;
        }
        if (LinuxFile.TryLstat(_parent!, name, out var existing) && !(existing.IsDirectory && header.Type == TarType.Directory))
            Remove(_parent!, name, existing);
        await CreateAsync(reader, header, name, path, cancellationToken).ConfigureAwait(false);
        if (header.Type == TarType.Directory)
            _directories.Add(header);
        if (_overlay is null && !IsPlainArchive)
            _unpacked.Add(path);
    }

    /// <summary>Resolves the directory part of a name inside the root and makes what is missing.</summary>
    private void OpenParent(string name)
    {
        if (_parentName == name)
            return;
        Forget();
        var path = Resolve(name);
        if (path.Length > 0)
            MakeParents(path);
        var errno = LinuxFile.TryOpenResolved(
            _root, path.Length == 0 ? "." : path, OpenFlags.PathOnly | OpenFlags.Directory, 0, ResolveFlags.Beneath | ResolveFlags.NoSymlinks, out _parent);
        if (errno is Errno.ENOSYS or Errno.EPERM)
            errno = LinuxFile.TryOpen(_root, path.Length == 0 ? "." : path, OpenFlags.PathOnly | OpenFlags.Directory | OpenFlags.NoFollow, 0, out _parent);
        if (errno != Errno.None)
            throw new LinuxException(errno, "open", Full(path));
        (_parentName, _parentPath) = (name, path);
    }

    /// <summary>Drops the cached parent: something was removed, so names may resolve differently now.</summary>
    private void Forget()
    {
        _parent?.Dispose();
        _parent = null;
        _parentName = null;
    }

    private string Resolve(string name)
    {
        try
        {
            return RootedPath.Resolve(_root, name, followLast: true);
        }
        catch (LinuxException e) when (e.Errno == Errno.ELOOP)
        {
            throw new IOException("failed to get root path: too many links", e);
        }
    }

    private void MakeParents(string path)
    {
        if (LinuxFile.TryLstat(_root, path, out var stat))
        {
            if (!stat.IsDirectory)
                throw new LinuxException(Errno.ENOTDIR, "mkparent", Full(path));
            return;
        }
        var slash = path.LastIndexOf('/');
        if (slash > 0)
            MakeParents(path[..slash]);
        LinuxFile.Mkdir(_root, path, 0x1ED);
        LinuxFile.Chmod(_root, path, 0x1ED);
        foreach (var lower in _overlay?.Lower ?? [])
        {
            var source = RootedPath.Resolve(lower, path, followLast: true);
            if (!LinuxFile.TryLstat(source, out var from))
                continue;
            if (from.IsDirectory)
                CopyDirectoryMetadata(source, from, path);
            return;
        }
    }

    private void CopyDirectoryMetadata(string source, in FileStat from, string path)
    {
        LinuxFile.Lchown(_root, path, from.Uid, from.Gid);
        LinuxFile.Chmod(_root, path, from.Permissions);
        foreach (var attribute in Xattr.List(source))
        {
            if (attribute.StartsWith("trusted.", StringComparison.Ordinal) || Xattr.Get(source, attribute) is not { } value)
                continue;
            var errno = Xattr.TrySet(_root, path, attribute, value);
            if (errno is not (Errno.None or Errno.EOPNOTSUPP or Errno.EPERM))
                throw new LinuxException(errno, "lsetxattr " + attribute, Full(path));
        }
        LinuxFile.SetTimes(_root, path, from.Atime, from.Mtime);
    }

    private void MakeOpaque()
    {
        if (_overlay is not null)
        {
            var errno = Xattr.TrySet(_parent!, ".", "trusted.overlay.opaque", "y"u8);
            if (errno != Errno.None)
                throw new LinuxException(errno, "lsetxattr trusted.overlay.opaque", Full(_parentPath));
            return;
        }
        RemoveForeign(_parent!, _parentPath.Length == 0 ? "" : _parentPath + "/");
        Forget();
    }

    /// <summary>Removes what this layer did not unpack.</summary>
    private void RemoveForeign(SafeFileHandle directory, string prefix)
    {
        foreach (var entry in LinuxDirectory.ReadSorted(directory, "."))
        {
            if (!_unpacked.Contains(prefix + entry.Name))
            {
                LinuxDirectory.RemoveTree(directory, entry.Name);
            }
            else if (LinuxFile.TryLstat(directory, entry.Name, out var stat) && stat.IsDirectory)
            {
                using var child = LinuxFile.Open(directory, entry.Name, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
                RemoveForeign(child, prefix + entry.Name + "/");
            }
        }
    }

    private void Delete(TarHeader header, string name)
    {
        var original = name[LayerTarWriter.WhiteoutPrefix.Length..];
        if (original is "" or "." or "..")
            throw new TarFormatException($"invalid whiteout name: {name}: invalid archive");
        if (_overlay is null)
        {
            if (LinuxFile.TryLstat(_parent!, original, out var existing))
                Remove(_parent!, original, existing);
            return;
        }
        var errno = LinuxFile.TryMknod(_parent!, original, UnixMode.Char, 0, 0);
        if (errno != Errno.None)
            throw new IOException($"failed to convert whiteout file {GoPath.Quote(header.Name)}: {ErrnoText.Of(errno)}");
        LinuxFile.Lchown(_parent!, original, Id(header.Uid, header), Id(header.Gid, header));
    }

    private void Remove(SafeFileHandle directory, string name, in FileStat existing)
    {
        LinuxDirectory.RemoveTree(directory, name);
        if (!existing.IsDirectory && !existing.IsSymlink)
            return;
        // The open parent stays valid: a name was removed in it, not it. Its spelling may mean something else now.
        if (_parentName is { Length: > 0 })
            _parentName = "\0";
    }

    private async ValueTask CreateAsync(TarReader reader, TarHeader header, string name, string path, CancellationToken cancellationToken)
    {
        var directory = _parent!;
        var permissions = (uint)header.Mode & UnixMode.PermissionMask;
        switch (header.Type)
        {
            case TarType.Directory:
                var made = LinuxFile.TryMkdir(directory, name, permissions);
                if (made is not (Errno.None or Errno.EEXIST))
                    throw new LinuxException(made, "mkdir", Full(path));
                break;
            case TarType.Regular:
                await WriteFileAsync(reader, directory, name, path, permissions, cancellationToken).ConfigureAwait(false);
                break;
            case TarType.Char or TarType.Block:
                var kind = header.Type == TarType.Char ? UnixMode.Char : UnixMode.Block;
                Check(LinuxFile.TryMknod(directory, name, kind | permissions, (uint)header.DevMajor, (uint)header.DevMinor), "mknod", path);
                break;
            case TarType.Fifo:
                Check(LinuxFile.TryMknod(directory, name, UnixMode.Fifo | permissions, 0, 0), "mkfifo", path);
                break;
            case TarType.HardLink:
                var target = ResolveLink(header.LinkName);
                var errno = target.Length == 0 ? Errno.EPERM : LinuxFile.TryLink(_root, target, directory, name);
                if (errno != Errno.None)
                    throw new LinuxException(errno, "link", $"{Full(target)} {Full(path)}");
                break;
            case TarType.Symlink:
                LinuxFile.Symlink(header.LinkName, directory, name);
                break;
            case TarType.PaxGlobal:
                return;
            default:
                throw new TarFormatException($"unhandled tar header type {header.Type}");
        }
        SetMetadata(header, directory, name, path, permissions);
    }

    private async ValueTask WriteFileAsync(TarReader reader, SafeFileHandle directory, string name, string path, uint permissions, CancellationToken cancellationToken)
    {
        // What was here has been removed; exclusive creation cannot be tricked into following anything.
        var errno = LinuxFile.TryOpen(directory, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.NoFollow, permissions, out var opened);
        Check(errno, "open", path);
        using var file = opened!;
        long written = 0;
        var offset = reader.SkipHole();
        int read;
        while ((read = await reader.ReadAsync(_buffer, cancellationToken).ConfigureAwait(false)) > 0)
        {
            RandomAccess.Write(file, _buffer.AsSpan(0, read), offset);
            written = offset + read;
            offset = written + reader.SkipHole();
        }
        if (offset > written)
            RandomAccess.SetLength(file, offset);
    }

    /// <summary>The file a hard link names: its directory resolved inside the root, its last component not followed.</summary>
    private string ResolveLink(string linkName)
    {
        var slash = linkName.LastIndexOf('/') + 1;
        var directory = Resolve(linkName[..slash]);
        return GoPath.Clean("/" + directory + "/" + linkName[slash..])[1..];
    }

    /// <summary>Owner first (it clears setuid bits and capabilities), then attributes, mode, times.</summary>
    private void SetMetadata(TarHeader header, SafeFileHandle directory, string name, string path, uint permissions)
    {
        LinuxFile.Lchown(directory, name, Id(header.Uid, header), Id(header.Gid, header));
        var stat = LinuxFile.Lstat(directory, name);
        foreach (var (attribute, value) in header.Xattrs)
        {
            if (attribute.StartsWith("trusted.", StringComparison.Ordinal))
                continue;
            var errno = Xattr.TrySet(directory, name, attribute, value);
            var refusedByType = errno == Errno.EPERM && attribute.StartsWith("user.", StringComparison.Ordinal) && !stat.IsRegular && !stat.IsDirectory;
            if (errno is not (Errno.None or Errno.EOPNOTSUPP) && !refusedByType && !IsPlainArchive)
                throw new LinuxException(errno, "lsetxattr " + attribute, Full(path));
        }
        if (!stat.IsSymlink)
            LinuxFile.Chmod(directory, name, permissions);
        LinuxFile.SetTimes(directory, name, Bound(AccessTime(header)), Bound(header.Mtime));
    }

    private string Full(string path) => path.Length == 0 ? _rootPath : $"{_rootPath}/{path}";

    private void Check(Errno errno, string operation, string path)
    {
        if (errno != Errno.None)
            throw new LinuxException(errno, operation, Full(path));
    }

    private static uint Id(long id, TarHeader header) => id is >= 0 and < uint.MaxValue
        ? (uint)id
        : throw new TarFormatException($"{header.Name}: owner {header.Uid}:{header.Gid} is outside 0-{uint.MaxValue - 1}");

    private static UnixTime AccessTime(TarHeader header) => header.Atime is { } atime && atime > header.Mtime ? atime : header.Mtime;

    private static UnixTime Bound(UnixTime time) => time < UnixTime.Epoch || time > LastTime ? UnixTime.Epoch : time;
}
