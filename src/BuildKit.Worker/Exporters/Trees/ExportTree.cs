using BuildKit.Oci;
using BuildKit.Session.FileSync;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Exporters.Trees;

/// <summary>The tree of one ref, readable until disposed.</summary>
internal sealed class ExportTree : IAsyncDisposable
{
    private readonly MountLease? _lease;
    private readonly MountedTree? _mounted;
    private readonly string? _empty;

    private ExportTree(IFileTree files, MountLease? lease, MountedTree? mounted, string? empty) =>
        (Files, _lease, _mounted, _empty) = (files, lease, mounted, empty);

    /// <summary>The entries.</summary>
    public IFileTree Files { get; }

    /// <summary>Opens the tree of a ref; null is an empty one.</summary>
    /// <param name="reference">The ref.</param>
    /// <param name="epoch">Modification time given to every entry, if set.</param>
    /// <param name="temporaryDirectory">Place for mounts.</param>
    /// <param name="cancellationToken">Ends the fetching of lazy layers.</param>
    public static async Task<ExportTree> OpenAsync(IImmutableRef? reference, Rfc3339Time? epoch, string temporaryDirectory, CancellationToken cancellationToken)
    {
        Func<SyncStat, SyncStat>? map = epoch is { } time ? stat => stat with { ModTime = Nanoseconds(time) } : null;
        Directory.CreateDirectory(temporaryDirectory);
        if (reference is null)
        {
            var empty = Path.Combine(temporaryDirectory, "empty-" + Path.GetRandomFileName());
            Directory.CreateDirectory(empty);
            return new ExportTree(new DirectoryTree(empty), null, null, empty);
        }
        var mountable = await reference.MountAsync(readOnly: true, cancellationToken);
        var lease = await mountable.AcquireAsync(cancellationToken);
        MountedTree? mounted = null;
        try
        {
            mounted = MountedTree.Open(lease.Mounts, readOnly: true, temporaryDirectory);
            return new ExportTree(new DirectoryTree(mounted.Root, map: map), lease, mounted, null);
        }
        catch
        {
            if (mounted is not null)
                await mounted.DisposeAsync();
            await lease.DisposeAsync();
            throw;
        }
    }

    /// <summary>A time as entries have it.</summary>
    public static long Nanoseconds(Rfc3339Time time) => checked((time.UnixSeconds * 1_000_000_000L) + time.Nanoseconds);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_mounted is not null)
            await _mounted.DisposeAsync();
        if (_lease is not null)
            await _lease.DisposeAsync();
        if (_empty is not null)
            Directory.Delete(_empty);
    }
}
