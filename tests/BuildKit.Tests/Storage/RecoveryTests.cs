using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

/// <summary>Hand-made half states, and copies of the state directory taken in the middle of work.</summary>
public sealed class RecoveryTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("buildkit-storage").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_clean_stop_loses_nothing()
    {
        string id;
        await using (var fixture = await StorageFixture.OpenAsync(_directory))
        {
            await using var a = await fixture.MakeAsync("a");
            await using var b = await fixture.MakeAsync("b", a);
            id = b.Id;
            await b.GetRemotesAsync(true, CompressionOptions.Default, false, default);
        }

        await using var again = await StorageFixture.OpenAsync(_directory);
        Assert.Equal(2, (await again.Refs.DiskUsageAsync([], default)).Count);
        await using var found = await again.Refs.GetAsync(id, RefOptions.Default, default);
        Assert.Equal(["a", "b"], await StorageFixture.FilesAsync(found));
        Assert.Equal(2, Assert.Single(await found.GetRemotesAsync(false, CompressionOptions.Default, false, default)).Descriptors.Count);
    }

    [Fact]
    public async Task A_record_whose_snapshot_is_gone_goes_with_its_children()
    {
        await using (var fixture = await StorageFixture.OpenAsync(_directory))
        {
            await using var a = await fixture.MakeAsync("a");
            await using var b = await fixture.MakeAsync("b", a);
            await using var other = await fixture.MakeAsync("other");
            Directory.Delete(Path.Combine(fixture.Root.WorkerDirectory, "snapshots", "snapshots", "1"), recursive: true);
        }

        await using var again = await StorageFixture.OpenAsync(_directory);
        Assert.Equal(["other"], (await again.Refs.DiskUsageAsync([], default)).Select(u => u.Description));
        Assert.Single(await again.Root.Snapshotter.ListAsync(default));
    }

    [Fact]
    public async Task An_unfinalized_record_survives_with_its_writable_twin()
    {
        string id;
        await using (var fixture = await StorageFixture.OpenAsync(_directory))
        {
            var writable = await fixture.Refs.NewAsync(null, new RefOptions { Retain = true }, default);
            id = (await writable.CommitAsync(default)).Id;
        }

        await using var again = await StorageFixture.OpenAsync(_directory);
        await using var found = await again.Refs.GetAsync(id, RefOptions.Default, default);
        await found.FinalizeAsync(default);
        Assert.Equal([found.Id], (await again.Refs.DiskUsageAsync([], default)).Select(u => u.Id));
    }

    [Fact]
    public async Task A_kill_between_the_two_steps_of_finalizing_keeps_the_record()
    {
        string id;
        await using (var fixture = await StorageFixture.OpenAsync(_directory))
        {
            var writable = await fixture.Refs.NewAsync(null, new RefOptions { Retain = true }, default);
            id = (await writable.CommitAsync(default)).Id;
            await fixture.Root.Snapshotter.CommitAsync(id, writable.Id, null, default);
        }

        await using var again = await StorageFixture.OpenAsync(_directory);
        var usage = Assert.Single(await again.Refs.DiskUsageAsync([], default));
        Assert.Equal((id, false), (usage.Id, usage.Mutable));
    }

    [Fact]
    public async Task Snapshots_and_directories_nobody_knows_are_swept()
    {
        string snapshots;
        await using (var fixture = await StorageFixture.OpenAsync(_directory))
        {
            await using var kept = await fixture.MakeAsync("kept");
            await fixture.Root.Snapshotter.PrepareAsync("extract-1 sha256:x", kept.Id, null, default);
            snapshots = Path.Combine(fixture.Root.WorkerDirectory, "snapshots", "snapshots");
            Directory.CreateDirectory(Path.Combine(snapshots, "new-abc", "fs"));
            Directory.CreateDirectory(Path.Combine(snapshots, "999", "fs"));
        }

        await using var again = await StorageFixture.OpenAsync(_directory);
        await again.Refs.WhenRemovedAsync();
        Assert.Equal(["1"], Directory.GetDirectories(snapshots).Select(d => Path.GetFileName(d)!));
        Assert.Empty(Directory.GetDirectories(Path.Combine(snapshots, "..", "trash")));
    }

    [Fact]
    public async Task A_copy_taken_at_any_moment_of_a_build_opens_and_is_consistent()
    {
        await using var fixture = await StorageFixture.OpenAsync(Path.Combine(_directory, "live"));
        var provider = new MemoryProvider();
        var layers = Enumerable.Range(0, 6).Select(i => provider.AddListing(CompressionType.Gzip, "file" + i)).ToArray();
        var options = provider.Options(layers);
        var copies = 0;
        var building = Task.Run(async () =>
        {
            IImmutableRef? below = null;
            for (var i = 0; i < layers.Length; i++)
            {
                below = await fixture.Refs.GetByBlobAsync(layers[i], below, options, default);
                await below.ExtractAsync(default);
                await (await fixture.MakeAsync("step" + i, below)).DisposeAsync();
            }

            await fixture.PruneAsync(new PruneOptions(["description~=step"], true, TimeSpan.Zero, 0, 0, 0));
        });
        do
        {
            var copy = Path.Combine(_directory, "copy" + copies++);
            await CopyAsync(fixture.Directory, copy);
            await using var opened = await StorageFixture.OpenAsync(copy);
            foreach (var record in await opened.Refs.DiskUsageAsync([], default))
            {
                await using var found = await opened.Refs.GetAsync(record.Id, options, default);
                await StorageFixture.FilesAsync(found);
            }

            await opened.PruneAsync(StorageFixture.Everything);
            Assert.Empty(await opened.Refs.DiskUsageAsync([], default));
            Assert.Empty(await opened.Root.Snapshotter.ListAsync(default));
        }
        while (!building.IsCompleted);
        await building;
    }

    // Worse than a kill: files are copied one after the other while the work goes on, so directories and database
    // are of different moments. Whatever does not fit together has to go, the rest has to work.
    private static async Task CopyAsync(string from, string to)
    {
        for (var attempt = 0; ; attempt++)
        {
            using var copy = System.Diagnostics.Process.Start("cp", ["-a", from, to]);
            await copy.WaitForExitAsync();
            if (copy.ExitCode == 0 || attempt == 20)
                return;
            Directory.Delete(to, recursive: true);
        }
    }
}
