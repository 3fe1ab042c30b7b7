using System.Collections.Concurrent;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using Microsoft.Win32.SafeHandles;

namespace BuildKit.Storage.Checksums;

/// <summary>
/// Content digests of records (spec 03 §10). What was hashed once is kept with the record's metadata; a record's tree
/// is mounted only when something unknown is asked for. Concurrent calls are safe; those on one record take turns.
/// </summary>
/// <param name="tempDirectory">Where trees are mounted; the system's directory for temporary files by default.</param>
/// <param name="mostIdleNodes">How many files and directories of trees nobody asks about are kept in memory (a few hundred bytes
/// each). All trees are saved with their records: a tree that was dropped is read again from there, not hashed again.</param>
public sealed class ContentChecksum(string? tempDirectory = null, int mostIdleNodes = 200_000)
{
    /// <summary>Metadata key of a record's content tree.</summary>
    public const string MetadataKey = "buildkit.contenthash.v0";

    private readonly ConcurrentDictionary<string, Slot> _slots = new(StringComparer.Ordinal);
    private long _uses;

    /// <summary>What was read from disk so far.</summary>
    public ChecksumWork Work { get; } = new();

    /// <summary>Files and directories kept in memory.</summary>
    public int NodesInMemory => _slots.Values.Sum(static slot => slot.Nodes);

    /// <summary>The content tree of a record, for telling it of transferred files; an empty one when there is none.</summary>
    public static ContentTree LoadForTransfer(IRefMetadata metadata) =>
        metadata.GetBlob(MetadataKey) is { Length: > 0 } saved ? ContentTree.Load(saved) : ContentTree.ForTransfer();

    /// <summary>Keeps a tree with a record.</summary>
    public static void Save(IRefMetadata metadata, ContentTree tree) => metadata.SetBlob(MetadataKey, tree.Save());

    /// <summary>The content digest of a path in a record.</summary>
    /// <param name="reference">The record; null is the empty tree.</param>
    /// <param name="path">Any path; cleaned as absolute.</param>
    /// <param name="options">See <see cref="ChecksumOptions"/>.</param>
    /// <param name="cancellationToken">Stops hashing; what was hashed so far is not lost.</param>
    /// <exception cref="ContentNotFoundException"><c>"/path": not found</c>.</exception>
    public async Task<Digest> ComputeAsync(IImmutableRef? reference, string path, ChecksumOptions options, CancellationToken cancellationToken)
    {
        if (reference is null)
        {
            return GoPath.Clean("/" + path) == "/"
                ? Digest.Sha256([])
                : throw new ContentNotFoundException($"{path}: no such file or directory");
        }
        var slot = _slots.GetOrAdd(reference.Id, static _ => new Slot());
        await slot.Turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            slot.Tree ??= reference.Metadata.GetBlob(MetadataKey) is { Length: > 0 } saved ? ContentTree.Load(saved) : ContentTree.ForDisk();
            await using var mounted = new LazyMount(reference, tempDirectory, cancellationToken);
            try
            {
                return await new ContentQuery(slot.Tree, new DiskAccess(mounted.OpenAsync, Work)).ComputeAsync(path, options, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                if (slot.Tree.IsDirty)
                    Save(reference.Metadata, slot.Tree);
                (slot.Nodes, slot.LastUse) = (slot.Tree.NodeCount, Interlocked.Increment(ref _uses));
            }
        }
        finally
        {
            slot.Turn.Release();
            Trim();
        }
    }

    /// <summary>Adds to a list what a digest that was computed was made of. Only what is remembered is looked at; nothing
    /// is mounted, read or hashed.</summary>
    /// <exception cref="InvalidOperationException">The digest was not computed.</exception>
    public async Task ListAsync(IImmutableRef reference, string path, ChecksumOptions options, ContentListing list, CancellationToken cancellationToken)
    {
        var slot = _slots.GetOrAdd(reference.Id, static _ => new Slot());
        await slot.Turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            slot.Tree ??= reference.Metadata.GetBlob(MetadataKey) is { Length: > 0 } saved ? ContentTree.Load(saved) : ContentTree.ForDisk();
            var nothing = new DiskAccess(() => throw new InvalidOperationException($"the content of {reference.Id} below {path} was not hashed"), Work);
            await new ContentQuery(slot.Tree, nothing).ListAsync(path, options, list, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            if (slot.Tree is not null)
                (slot.Nodes, slot.LastUse) = (slot.Tree.NodeCount, Interlocked.Increment(ref _uses));
            slot.Turn.Release();
            Trim();
        }
    }

    /// <summary>Whether a file would have a digest if its mode and owner were others: then only these changed, not its
    /// content. Reads the file.</summary>
    /// <param name="reference">The record the file is in.</param>
    /// <param name="path">The file, without links.</param>
    /// <param name="stat">The other mode and owner.</param>
    /// <param name="mark">The other digest's <see cref="ContentEntry.Mark"/>.</param>
    /// <param name="cancellationToken">Stops reading.</param>
    public async Task<bool> WouldMatchAsync(IImmutableRef reference, string path, ContentStat stat, ulong mark, CancellationToken cancellationToken)
    {
        await using var mounted = new LazyMount(reference, tempDirectory, cancellationToken);
        var root = await mounted.OpenAsync().ConfigureAwait(false);
        var name = path.TrimStart('/');
        var header = ContentHeader.Read(root, name) with { Mode = stat.Mode, Uid = stat.Uid, Gid = stat.Gid };
        return ContentEntry.MarkOf(await ContentReader.HashAsync(root, name, header, cancellationToken).ConfigureAwait(false)) == mark;
    }

    /// <summary>Drops what is remembered of a record in memory (it was deleted or its tree changed).</summary>
    public void Forget(string id) => _slots.TryRemove(id, out _);

    /// <summary>Drops the trees that were not asked about for longest until the rest is small enough; whoever uses one keeps it.</summary>
    private void Trim()
    {
        var nodes = NodesInMemory;
        if (nodes <= mostIdleNodes)
            return;
        foreach (var (id, slot) in _slots.OrderBy(static s => s.Value.LastUse))
        {
            if (nodes <= mostIdleNodes)
                return;
            if (slot.Turn.CurrentCount == 1 && _slots.TryRemove(new KeyValuePair<string, Slot>(id, slot)))
                nodes -= slot.Nodes;
        }
    }

    private sealed class Slot
    {
        internal SemaphoreSlim Turn { get; } = new(1, 1);

        internal ContentTree? Tree { get; set; }

        internal int Nodes { get; set; }

        internal long LastUse { get; set; }
    }

    /// <summary>The record's tree, mounted when it is first needed.</summary>
    private sealed class LazyMount(IImmutableRef reference, string? tempDirectory, CancellationToken cancellationToken) : IAsyncDisposable
    {
        private MountLease? _lease;
        private MountedTree? _tree;
        private SafeFileHandle? _root;

        internal async ValueTask<SafeFileHandle> OpenAsync()
        {
            var mountable = await reference.MountAsync(readOnly: true, cancellationToken).ConfigureAwait(false);
            _lease = await mountable.AcquireAsync(cancellationToken).ConfigureAwait(false);
            _tree = MountedTree.Open(_lease.Mounts, readOnly: true, tempDirectory);
            return _root = LinuxFile.OpenDirectory(_tree.Root);
        }

        public async ValueTask DisposeAsync()
        {
            _root?.Dispose();
            if (_tree is not null)
                await _tree.DisposeAsync().ConfigureAwait(false);
            if (_lease is not null)
                await _lease.DisposeAsync().ConfigureAwait(false);
        }
    }
}
