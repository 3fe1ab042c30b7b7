namespace BuildKit.Storage.Snapshots;

/// <summary>One mount as <c>mount(2)</c> takes it, with containerd's option spelling (<c>ro</c>, <c>rbind</c>, <c>lowerdir=…</c>).</summary>
public sealed record MountSpec(string Type, string Source, IReadOnlyList<string> Options);

/// <summary>
/// Named file trees with a parent each (spec 06 §2). A snapshot is active (writable) until it is committed
/// under a new name; committed ones never change. Names are unique; every change survives a crash or never happened.
/// </summary>
public interface ISnapshotter
{
    /// <summary><c>overlayfs</c>, <c>native</c> or <c>fuse-overlayfs</c>.</summary>
    string Name { get; }

    /// <summary>Makes an active snapshot on a committed parent (or on nothing) and returns its mounts.</summary>
    ValueTask<IReadOnlyList<MountSpec>> PrepareAsync(string key, string? parent, IReadOnlyDictionary<string, string>? labels, CancellationToken cancellationToken);

    /// <summary>Makes a read-only view.</summary>
    ValueTask<IReadOnlyList<MountSpec>> ViewAsync(string key, string? parent, CancellationToken cancellationToken);

    /// <summary>Mounts of an active snapshot or view; of a committed one read-only, without making a view first.</summary>
    ValueTask<IReadOnlyList<MountSpec>> MountsAsync(string key, CancellationToken cancellationToken);

    /// <summary>Freezes an active snapshot under a name. An existing name throws <see cref="SnapshotExistsException"/>.</summary>
    ValueTask CommitAsync(string name, string key, IReadOnlyDictionary<string, string>? labels, CancellationToken cancellationToken);

    /// <summary>Removes a snapshot that has no children.</summary>
    ValueTask RemoveAsync(string key, CancellationToken cancellationToken);

    /// <summary>What is known of a snapshot, or null.</summary>
    ValueTask<SnapshotInfo?> StatAsync(string key, CancellationToken cancellationToken);

    /// <summary>Disk used by a snapshot itself: bytes (<c>st_blocks*512</c> of unique inodes) and inodes.</summary>
    ValueTask<(long Bytes, long Inodes)> UsageAsync(string key, CancellationToken cancellationToken);

    /// <summary>Every snapshot.</summary>
    ValueTask<IReadOnlyList<SnapshotInfo>> ListAsync(CancellationToken cancellationToken);

    /// <summary>Ends when the directories of removed snapshots, which are deleted in the background, are gone.</summary>
    Task WhenRemovedAsync();
}

/// <summary>A snapshot: its name, parent, whether it is committed, and labels.</summary>
public sealed record SnapshotInfo(string Name, string? Parent, bool Committed, bool View, IReadOnlyDictionary<string, string> Labels);

/// <summary>The name is taken.</summary>
public sealed class SnapshotExistsException(string name) : Exception($"snapshot {name}: already exists");
