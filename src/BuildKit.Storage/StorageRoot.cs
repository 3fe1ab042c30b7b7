using BuildKit.Database;
using BuildKit.Linux;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.Storage;

/// <summary>Settings of <see cref="StorageRoot"/>.</summary>
public sealed record StorageOptions
{
    /// <summary><c>auto</c>, <c>overlayfs</c>, <c>fuse-overlayfs</c> or <c>native</c>.</summary>
    public string Snapshotter { get; init; } = "auto";

    /// <summary>Clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Settings of the records.</summary>
    public RefStoreOptions Refs { get; init; } = new();

    /// <summary>Diff, unpack, compress and merge; null is the real thing.</summary>
    public ILayerTools? Layers { get; init; }
}

/// <summary>
/// All storage of one worker below the state directory (spec 06 §10.1): <c>&lt;path&gt;/runc-&lt;snapshotter&gt;</c> with
/// the database, content, snapshots, shared mounts. Opening recovers from whatever way the last process ended.
/// The caller holds the daemon's lock file: two processes must not open one root.
/// </summary>
public sealed class StorageRoot : IAsyncDisposable
{
    private StorageRoot(string directory, SqliteDatabase database, FileContentStore content, BlobLeases leases, ISnapshotter snapshotter, RefStore refs)
    {
        WorkerDirectory = directory;
        Database = database;
        Content = content;
        Leases = leases;
        Snapshotter = snapshotter;
        Refs = refs;
    }

    /// <summary><c>&lt;path&gt;/runc-&lt;snapshotter&gt;</c>; other parts of the worker keep their files here, too.</summary>
    public string WorkerDirectory { get; }

    /// <summary>The database of blobs, snapshots and records.</summary>
    public SqliteDatabase Database { get; }

    /// <summary>Blobs.</summary>
    public FileContentStore Content { get; }

    /// <summary>Keeps blobs that no record owns.</summary>
    public BlobLeases Leases { get; }

    /// <summary>Trees.</summary>
    public ISnapshotter Snapshotter { get; }

    /// <summary>Records.</summary>
    public RefStore Refs { get; }

    /// <summary>Opens the storage.</summary>
    /// <param name="path">The daemon's state directory.</param>
    /// <param name="options">Settings.</param>
    /// <param name="cancellationToken">Stops opening; the state stays as it was or is repaired in part.</param>
    /// <exception cref="ArgumentException">Unknown snapshotter.</exception>
    public static async Task<StorageRoot> OpenAsync(string path, StorageOptions options, CancellationToken cancellationToken)
    {
        path = Path.GetFullPath(path);
        Directory.CreateDirectory(path);
        var name = Choose(path, options.Snapshotter);
        var directory = Path.Combine(path, "runc-" + name);
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        var database = SqliteDatabase.Open(Path.Combine(directory, "storage.db"), StorageSchema.Current);
        try
        {
            var content = new FileContentStore(Path.Combine(directory, "content"), database, options.Time);
            content.Sweep();
            var snapshots = Path.Combine(directory, "snapshots");
            Directory.CreateDirectory(snapshots);
            ISnapshotter snapshotter = name == "native"
                ? new NativeSnapshotter(snapshots, database)
                : new OverlaySnapshotter(snapshots, database, fuse: name == "fuse-overlayfs");
            var leases = new BlobLeases(database);
            var temporary = Path.Combine(directory, "tmp");
            SweepTemporary(temporary);
            var refs = new RefStore(
                directory, snapshotter, content, leases, new RecordTable(database), options.Layers ?? new LayerTools(temporary), options.Time, options.Refs);
            await refs.RecoverAsync(cancellationToken);
            return new StorageRoot(directory, database, content, leases, snapshotter, refs);
        }
        catch
        {
            database.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await Refs.WhenRemovedAsync();
        Database.Dispose();
    }

    // A killed process leaves its mounts for reading behind.
    private static void SweepTemporary(string directory)
    {
        foreach (var entry in MountTable.Below(directory))
            _ = Mounts.TryUnmount(entry.MountPoint, lazy: true);
        LinuxDirectory.RemoveTree(directory);
        Directory.CreateDirectory(directory);
    }

    private static string Choose(string path, string wanted) => wanted switch
    {
        "overlayfs" or "fuse-overlayfs" or "native" => wanted,
        "auto" or "" => OverlaySupport.KernelWorksOn(path) ? "overlayfs" : OverlaySupport.FuseWorksOn(path) ? "fuse-overlayfs" : "native",
        _ => throw new ArgumentException($"unknown snapshotter name: \"{wanted}\"", nameof(wanted)),
    };
}
