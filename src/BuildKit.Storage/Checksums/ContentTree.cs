using BuildKit.Linux;
using BuildKit.Oci;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Checksums;

/// <summary>
/// Content digests of a file tree, kept with a record (spec 03 §10.2). A transferred tree is told change by change;
/// one on disk is listed and hashed only where a question needs it. Not safe for concurrent use.
/// </summary>
public sealed class ContentTree
{
    private const int MaxLinks = 255;

    private readonly ContentNode _root = new("", ContentKind.Directory);

    /// <summary>Whether something was learnt since the tree was loaded or saved.</summary>
    public bool IsDirty { get; private set; }

    internal ContentNode Root => _root;

    /// <summary>Files and directories in memory, as a measure of the tree's size there; those told by a transfer are not counted.</summary>
    internal int NodeCount { get; private set; } = 1;

    /// <summary>An empty tree that a transfer will fill; its root header is the digest of nothing.</summary>
    public static ContentTree ForTransfer()
    {
        var tree = new ContentTree();
        tree._root.Children = ContentNode.NewChildren();
        tree._root.Header = Digest.Sha256([]);
        return tree;
    }

    /// <summary>A tree that is read from disk when needed.</summary>
    public static ContentTree ForDisk() => new();

    /// <summary>Reads a saved tree.</summary>
    /// <exception cref="InvalidDataException">The bytes are damaged.</exception>
    public static ContentTree Load(ReadOnlySpan<byte> saved)
    {
        var tree = new ContentTree();
        tree.NodeCount = ContentTreeFormat.Read(saved, tree._root);
        return tree;
    }

    /// <summary>Computes the digests of all directories of a transferred tree, so that they are saved with it.</summary>
    public async ValueTask CompleteAsync(CancellationToken cancellationToken) =>
        await DigestAsync(
            _root, "", new DiskAccess(static () => throw new InvalidOperationException("content of a transferred tree is not complete")), cancellationToken).ConfigureAwait(false);

    /// <summary>The bytes to keep; clears <see cref="IsDirty"/>.</summary>
    public byte[] Save()
    {
        IsDirty = false;
        return ContentTreeFormat.Write(_root);
    }

    /// <summary>
    /// Takes note of a transferred file. Parents must have been told before. A hard link (a regular file whose header
    /// has a link name) takes the digest of its target, whenever that arrives.
    /// </summary>
    /// <param name="path">Path below the root, with or without a leading slash.</param>
    /// <param name="header">What the client said of the file.</param>
    /// <param name="digest">For regular files: header and content hashed (<see cref="ContentHeader.StartHash"/>).</param>
    public void Put(string path, ContentHeader header, Digest digest)
    {
        var (parent, name) = Parent(path);
        var type = header.Mode & UnixMode.TypeMask;
        var kind = type switch
        {
            UnixMode.Directory => ContentKind.Directory,
            UnixMode.Symlink => ContentKind.Symlink,
            _ => ContentKind.File,
        };
        parent.Children!.TryGetValue(name, out var old);
        var node = new ContentNode(name, kind) { Stat = header.Stat };
        switch (kind)
        {
            case ContentKind.Directory:
                node.Header = header.Digest();
                node.Children = old?.Children ?? ContentNode.NewChildren();
                break;
            case ContentKind.Symlink:
                node.Digest = header.Digest();
                node.LinkName = header.LinkName;
                break;
            default:
                node.Digest = type == UnixMode.Regular && !digest.IsEmpty ? digest : header.Digest();
                break;
        }
        parent.Children[name] = node;
        Invalidate(path);
    }

    /// <summary>Gives a hard link the digest of the file it names; false when that is not known yet.</summary>
    public bool PutLink(string path, string target)
    {
        if (Find(target) is not { Kind: ContentKind.File, Digest.IsEmpty: false } source)
            return false;
        var (parent, name) = Parent(path);
        parent.Children![name] = new ContentNode(name, ContentKind.File) { Digest = source.Digest, Stat = source.Stat };
        Invalidate(path);
        return true;
    }

    /// <summary>Forgets a path and everything below it.</summary>
    public void Delete(string path)
    {
        var (parent, name) = Parent(path);
        parent.Children!.Remove(name);
        Invalidate(path);
    }

    private (ContentNode Parent, string Name) Parent(string path)
    {
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0)
            throw new ArgumentException($"content of \"{path}\": the root cannot be replaced", nameof(path));
        var node = _root;
        foreach (var part in parts.AsSpan(0, parts.Length - 1))
        {
            if (node.Children is null || !node.Children.TryGetValue(part, out var child) || child.Kind != ContentKind.Directory)
                throw new InvalidOperationException($"content of \"{path}\" came before its parent directory");
            node = child;
        }
        node.Children ??= ContentNode.NewChildren();
        return (node, parts[^1]);
    }

    private ContentNode? Find(string path)
    {
        var node = _root;
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (node.Children is null || !node.Children.TryGetValue(part, out var child))
                return null;
            node = child;
        }
        return node;
    }

    /// <summary>Directory digests above a changed path are computed anew on demand.</summary>
    private void Invalidate(string path)
    {
        IsDirty = true;
        var node = _root;
        node.Digest = default;
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (node.Children is null || !node.Children.TryGetValue(part, out var child))
                return;
            node = child;
            if (node.Kind == ContentKind.Directory)
                node.Digest = default;
        }
    }

    /// <summary>A node with its path without links, or null.</summary>
    internal async ValueTask<(ContentNode? Node, string Path)> ResolveAsync(string path, bool followLast, DiskAccess disk)
    {
        var stack = new List<ContentNode> { _root };
        var pending = new Stack<string>(Enumerable.Reverse(path.Split('/')));
        var links = 0;
        while (pending.TryPop(out var part))
        {
            if (part is "" or ".")
                continue;
            if (part == "..")
            {
                if (stack.Count > 1)
                    stack.RemoveAt(stack.Count - 1);
                continue;
            }
            var here = PathOf(stack);
            if (stack[^1].Kind != ContentKind.Directory)
                return (null, here + "/" + part);
            var children = await ChildrenAsync(stack[^1], here, disk).ConfigureAwait(false);
            if (!children.TryGetValue(part, out var node))
                return (null, here + "/" + part);
            if (node.Kind == ContentKind.Symlink && (followLast || pending.Any(p => p is not ("" or "."))))
            {
                if (++links > MaxLinks)
                    throw new IOException("too many links");
                var target = await LinkAsync(node, here + "/" + part, disk).ConfigureAwait(false);
                if (target.StartsWith('/'))
                    stack.RemoveRange(1, stack.Count - 1);
                foreach (var piece in Enumerable.Reverse(target.Split('/')))
                    pending.Push(piece);
                continue;
            }
            stack.Add(node);
        }
        return (stack[^1], PathOf(stack));

        static string PathOf(List<ContentNode> nodes) => string.Concat(nodes.Skip(1).Select(n => "/" + n.Name));
    }

    /// <summary>What is in a directory, listing it when that was not done yet.</summary>
    internal async ValueTask<SortedList<string, ContentNode>> ChildrenAsync(ContentNode node, string path, DiskAccess disk)
    {
        if (node.Children is { } known)
            return known;
        var root = await disk.RootAsync().ConfigureAwait(false);
        var children = ContentNode.NewChildren();
        disk.Work.CountDirectory();
        foreach (var entry in LinuxDirectory.ReadSorted(root, Relative(path)))
        {
            var type = entry.Type;
            if (type is 0 or UnixMode.Char)
            {
                // A whiteout device in a directory that is not merged may be listed though it is not there.
                if (!LinuxFile.TryLstat(root, Relative($"{path}/{entry.Name}"), out var stat))
                    continue;
                type = stat.Type;
            }
            var kind = type switch { UnixMode.Directory => ContentKind.Directory, UnixMode.Symlink => ContentKind.Symlink, _ => ContentKind.File };
            children.Add(entry.Name, new ContentNode(entry.Name, kind));
        }
        IsDirty = true;
        NodeCount += children.Count;
        return node.Children = children;
    }

    private async ValueTask<string> LinkAsync(ContentNode node, string path, DiskAccess disk)
    {
        if (node.LinkName is null)
        {
            node.LinkName = LinuxFile.ReadLink(await disk.RootAsync().ConfigureAwait(false), Relative(path));
            IsDirty = true;
        }
        return node.LinkName;
    }

    /// <summary>Digest of a file or symlink, recursive digest of a directory.</summary>
    internal async ValueTask<Digest> DigestAsync(ContentNode node, string path, DiskAccess disk, CancellationToken cancellationToken)
    {
        if (!node.Digest.IsEmpty)
            return node.Digest;
        cancellationToken.ThrowIfCancellationRequested();
        IsDirty = true;
        if (node.Kind != ContentKind.Directory)
        {
            disk.Work.CountFile();
            (node.Digest, node.Stat) = await ContentReader.HashAsync(await disk.RootAsync().ConfigureAwait(false), Relative(path), cancellationToken).ConfigureAwait(false);
            return node.Digest;
        }
        var joined = new ContentJoin();
        joined.AppendSeparated(await HeaderAsync(node, path, disk).ConfigureAwait(false));
        foreach (var (name, child) in await ChildrenAsync(node, path, disk).ConfigureAwait(false))
            joined.AppendSeparated(name, await DigestAsync(child, $"{path}/{name}", disk, cancellationToken).ConfigureAwait(false));
        return node.Digest = joined.Finish();
    }

    /// <summary>Header digest of a directory.</summary>
    internal async ValueTask<Digest> HeaderAsync(ContentNode node, string path, DiskAccess disk)
    {
        if (node.Header.IsEmpty)
        {
            var header = ContentHeader.Read(await disk.RootAsync().ConfigureAwait(false), Relative(path));
            (node.Header, node.Stat) = (header.Digest(), header.Stat);
            IsDirty = true;
        }
        return node.Header;
    }

    private static string Relative(string path) => path.Length == 0 ? "." : path.TrimStart('/');
}

/// <summary>How much was read from disk for checksums: what is kept need not be read again.</summary>
public sealed class ChecksumWork
{
    private long _files;
    private long _directories;

    /// <summary>Files and symlinks that were hashed.</summary>
    public long Files => Interlocked.Read(ref _files);

    /// <summary>Directories that were listed.</summary>
    public long Directories => Interlocked.Read(ref _directories);

    internal void CountFile() => Interlocked.Increment(ref _files);

    internal void CountDirectory() => Interlocked.Increment(ref _directories);
}

/// <summary>Gives the root of the tree on disk, mounting it the first time it is asked for.</summary>
/// <param name="open">Mounts it.</param>
/// <param name="work">Counts what was read.</param>
internal sealed class DiskAccess(Func<ValueTask<SafeFileHandle>> open, ChecksumWork? work = null)
{
    private SafeFileHandle? _root;

    internal ChecksumWork Work { get; } = work ?? new ChecksumWork();

    internal async ValueTask<SafeFileHandle> RootAsync() => _root ??= await open().ConfigureAwait(false);
}
