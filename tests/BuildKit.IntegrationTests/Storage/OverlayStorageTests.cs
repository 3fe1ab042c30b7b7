using BuildKit.IntegrationTests.Support;
using BuildKit.Linux;
using BuildKit.Oci;
using BuildKit.Storage;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;

namespace BuildKit.IntegrationTests.Storage;

/// <summary>Storage with the kernel's overlayfs (or copies) and the real layer engine.</summary>
public sealed class OverlayStorageTests
{
    private static readonly CompressionOptions Gzip = CompressionOptions.Default;

    [RequiresFact("root")]
    public async Task Overlay_snapshots_have_the_mounts_of_the_reference()
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, "overlayfs");
        var snapshotter = storage.Snapshotter;
        var first = Assert.Single(await snapshotter.PrepareAsync("a", null, null, default));
        Assert.Equal("bind", first.Type);
        Assert.Equal(["rw", "rbind"], first.Options);
        await snapshotter.CommitAsync("A", "a", null, default);
        var second = Assert.Single(await snapshotter.PrepareAsync("b", "A", null, default));
        var directory = Path.Combine(storage.WorkerDirectory, "snapshots", "snapshots");
        Assert.Equal("overlay", second.Type);
        Assert.Equal([$"workdir={directory}/2/work", $"upperdir={directory}/2/fs", $"lowerdir={directory}/1/fs"], second.Options.Take(3));
        var view = Assert.Single(await snapshotter.ViewAsync("v", "A", default));
        Assert.Equal($"{directory}/1/fs", view.Source);
        Assert.Equal(["ro", "rbind"], view.Options);
        await snapshotter.CommitAsync("B", "b", null, default);
        var two = Assert.Single(await snapshotter.ViewAsync("w", "B", default));
        Assert.Equal($"lowerdir={directory}/2/fs:{directory}/1/fs", two.Options[0]);
        Assert.Equal(Assert.Single(await snapshotter.MountsAsync("B", default)).Options, two.Options);
        await Assert.ThrowsAsync<SnapshotExistsException>(async () => await snapshotter.PrepareAsync("B", null, null, default));
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await snapshotter.RemoveAsync("A", default));
    }

    [RequiresTheory("root")]
    [InlineData("overlayfs")]
    [InlineData("native")]
    public async Task Layers_leave_as_blobs_and_come_back_as_the_same_tree(string snapshotter)
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Sub("one"), snapshotter);
        await using var low = await MakeAsync(storage, null, root =>
        {
            Directory.CreateDirectory(root + "/d/sub");
            File.WriteAllText(root + "/d/keep", "keep");
            File.WriteAllText(root + "/d/sub/gone", "gone");
        });
        await using var top = await MakeAsync(storage, low, root =>
        {
            Directory.Delete(root + "/d/sub", recursive: true);
            File.WriteAllText(root + "/d/new", "new");
        });
        var remote = Assert.Single(await top.GetRemotesAsync(true, Gzip, false, default));
        Assert.Equal(2, remote.Descriptors.Count);

        await using var elsewhere = await OpenAsync(temp.Sub("two"), snapshotter);
        var counting = new CountingProvider(remote.Provider);
        await using var pulled = await PullAsync(elsewhere, remote.Descriptors, counting);
        Assert.Equal(0, counting.Opened);
        Assert.Equal(["d", "d/keep", "d/new"], await TreeAsync(pulled));
        Assert.Equal(2, counting.Opened);

        // What was pulled and unpacked gives the same diff ids when it is computed again.
        foreach (var (layer, descriptor) in pulled.LayerChain().Zip(remote.Descriptors))
            Assert.Equal(descriptor.Annotations["containerd.io/uncompressed"], (await layer.GetRemotesAsync(false, Gzip, false, default))[0].Descriptors[^1].Annotations["containerd.io/uncompressed"]);
    }

    [RequiresFact("root")]
    public async Task A_step_without_changes_is_the_empty_layer()
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, "overlayfs");
        await using var low = await MakeAsync(storage, null, root => File.WriteAllText(root + "/f", "f"));
        await using var top = await MakeAsync(storage, low, static _ => { });
        var layer = (await top.GetRemotesAsync(true, Gzip, false, default))[0].Descriptors[1];
        Assert.Equal("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef", layer.Annotations["containerd.io/uncompressed"]);
    }

    [RequiresTheory("root")]
    [InlineData("overlayfs")]
    [InlineData("native")]
    public async Task Merges_and_diffs_have_the_files_and_deletions_of_their_layers(string snapshotter)
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, snapshotter);
        await using var a = await MakeAsync(storage, null, root =>
        {
            File.WriteAllText(root + "/a", "a");
            File.WriteAllText(root + "/both", "a");
        });
        await using var b = await MakeAsync(storage, a, root =>
        {
            File.Delete(root + "/both");
            File.WriteAllText(root + "/b", "b");
        });
        await using var x = await MakeAsync(storage, null, root =>
        {
            File.WriteAllText(root + "/both", "x");
            File.WriteAllText(root + "/x", "x");
        });
        await using var merged = await storage.Refs.MergeAsync([x, b], RefOptions.Default, default);
        Assert.Equal(["a", "b", "x"], await TreeAsync(merged!));
        await using var other = await storage.Refs.MergeAsync([b, x], RefOptions.Default, default);
        Assert.Equal(["a", "b", "both", "x"], await TreeAsync(other!));
        await using var diff = await storage.Refs.DiffAsync(a, b, RefOptions.Default, default);
        Assert.Equal(["b"], await TreeAsync(diff!));
        await using var back = await storage.Refs.DiffAsync(b, a, RefOptions.Default, default);
        Assert.Equal(["both"], await TreeAsync(back!));
        await using var undone = await storage.Refs.MergeAsync([b, back], RefOptions.Default, default);
        Assert.Equal(["a", "both"], await TreeAsync(undone!));
        Assert.Equal(3, (await undone!.GetRemotesAsync(true, Gzip, false, default))[0].Descriptors.Count);
        await using var nothing = await storage.Refs.DiffAsync(b, null, RefOptions.Default, default);
        Assert.Single((await nothing!.GetRemotesAsync(true, Gzip, false, default))[0].Descriptors);
    }

    [RequiresFact("root")]
    public async Task Users_of_one_writable_record_share_one_overlay_mount()
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, "overlayfs");
        await using var low = await MakeAsync(storage, null, root => File.WriteAllText(root + "/f", "f"));
        await using var writable = await storage.Refs.NewAsync(low, RefOptions.Default, default);
        var mountable = await writable.MountAsync(readOnly: false, default);
        var shared = Path.Combine(storage.WorkerDirectory, "cachemounts");
        await using (var first = await mountable.AcquireAsync(default))
        {
            await using (var second = await mountable.AcquireAsync(default))
            {
                Assert.Equal("bind", first.Mounts[0].Type);
                Assert.Equal(["rw", "rbind"], first.Mounts[0].Options);
                Assert.Equal(first.Mounts[0].Source, second.Mounts[0].Source);
                File.WriteAllText(first.Mounts[0].Source + "/live", "");
                Assert.True(File.Exists(second.Mounts[0].Source + "/live"));
                Assert.Single(MountTable.Below(shared));
            }

            Assert.Single(MountTable.Below(shared));
        }

        Assert.Empty(MountTable.Below(shared));
        Assert.Empty(Directory.GetDirectories(shared));
        var reading = await writable.MountAsync(readOnly: true, default);
        await using var lease = await reading.AcquireAsync(default);
        Assert.DoesNotContain(lease.Mounts[0].Options, o => o.StartsWith("upperdir=", StringComparison.Ordinal) || o.StartsWith("workdir=", StringComparison.Ordinal));
    }

    /// <summary>A process that is being started has the files its parent has open, until its program runs.</summary>
    [RequiresFact("root")]
    public async Task A_mount_whose_last_user_leaves_goes_even_while_one_of_its_files_is_open()
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, "overlayfs");
        await using var low = await MakeAsync(storage, null, root => File.WriteAllText(root + "/f", "f"));
        await using var over = await storage.Refs.NewAsync(low, RefOptions.Default with { Retain = true }, default);
        var mountable = await over.MountAsync(readOnly: false, default);
        FileStream open;
        await using (var lease = await mountable.AcquireAsync(default))
            open = File.Create(lease.Mounts[0].Source + "/written");
        await using (open)
        {
            Assert.Empty(MountTable.Below(Path.Combine(storage.WorkerDirectory, "cachemounts")));
            open.Write("late"u8);
        }
        await using var committed = await over.CommitAsync(default);
        Assert.Equal(["f", "written"], await TreeAsync(committed));
    }

    [RequiresFact("root")]
    public async Task A_start_unmounts_what_a_killed_daemon_left_mounted()
    {
        using var temp = new TempDirectory();
        string shared;
        await using (var storage = await OpenAsync(temp.Path, "overlayfs"))
        {
            await using var low = await MakeAsync(storage, null, root => File.WriteAllText(root + "/f", "f"));
            var writable = await storage.Refs.NewAsync(low, RefOptions.Default, default);
            _ = await (await writable.MountAsync(readOnly: false, default)).AcquireAsync(default);
            shared = Path.Combine(storage.WorkerDirectory, "cachemounts");
            Assert.Single(MountTable.Below(shared));
        }

        await using var again = await OpenAsync(temp.Path, "overlayfs");
        Assert.Empty(MountTable.Below(shared));
        Assert.Empty(Directory.GetDirectories(shared));
    }

    [RequiresFact("root")]
    public async Task A_hundred_layers_can_be_mounted()
    {
        using var temp = new TempDirectory();
        await using var storage = await OpenAsync(temp.Path, "overlayfs");
        IImmutableRef? below = null;
        for (var i = 0; i < 100; i++)
            below = await MakeAsync(storage, below, root => File.WriteAllText(root + "/f" + i, ""));
        Assert.Equal(100, (await TreeAsync(below!)).Count);
    }

    private static Task<StorageRoot> OpenAsync(string path, string snapshotter) =>
        StorageRoot.OpenAsync(path, new StorageOptions { Snapshotter = snapshotter }, CancellationToken.None);

    private static async Task<IImmutableRef> MakeAsync(StorageRoot storage, IImmutableRef? parent, Action<string> write)
    {
        var writable = await storage.Refs.NewAsync(parent, new RefOptions { Retain = true }, default);
        await using (var lease = await (await writable.MountAsync(readOnly: false, default)).AcquireAsync(default))
        {
            await using var tree = MountedTree.Open(lease.Mounts, readOnly: false);
            write(tree.Root);
        }

        return await writable.CommitAsync(default);
    }

    private static async Task<IImmutableRef> PullAsync(StorageRoot storage, IReadOnlyList<Descriptor> layers, IBlobProvider provider)
    {
        var handlers = layers.ToDictionary(l => l.Digest, _ => new DescriptorHandler { Provider = provider });
        IImmutableRef? below = null;
        foreach (var layer in layers)
            below = await storage.Refs.GetByBlobAsync(layer, below, new RefOptions { Handlers = handlers }, default);
        return below!;
    }

    private static async Task<List<string>> TreeAsync(IRef reference)
    {
        await using var lease = await (await reference.MountAsync(readOnly: true, default)).AcquireAsync(default);
        await using var tree = MountedTree.Open(lease.Mounts, readOnly: true);
        return Directory.EnumerateFileSystemEntries(tree.Root, "*", SearchOption.AllDirectories)
            .Select(p => Path.GetRelativePath(tree.Root, p)).Order(StringComparer.Ordinal).ToList();
    }

    private sealed class CountingProvider(IBlobProvider provider) : IBlobProvider
    {
        private int _opened;

        public int Opened => _opened;

        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _opened);
            return provider.OpenAsync(descriptor, offset, cancellationToken);
        }

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => provider.StatAsync(descriptor, cancellationToken);
    }
}
