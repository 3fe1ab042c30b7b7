using BuildKit.Oci;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

public sealed class GarbageCollectionTests
{
    private const int Size = 1 << 20;

    [Fact]
    public async Task Held_records_and_what_they_are_built_on_stay()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var a = await fixture.MakeAsync("a");
        var b = await fixture.MakeAsync("b", a);
        await a.DisposeAsync();
        Assert.Empty(await fixture.PruneAsync(StorageFixture.Everything));
        var usage = (await fixture.Refs.DiskUsageAsync([], default)).ToDictionary(u => u.Description);
        Assert.True(usage["a"].InUse);
        Assert.Equal([a.Id], usage["b"].Parents);
        await b.DisposeAsync();
        usage = (await fixture.Refs.DiskUsageAsync([], default)).ToDictionary(u => u.Description);
        Assert.False(usage["a"].InUse);
        Assert.Equal(["b", "a"], await fixture.PruneAsync(StorageFixture.Everything));
        Assert.Empty(await fixture.Refs.DiskUsageAsync([], default));
        Assert.Empty(await fixture.Root.Snapshotter.ListAsync(default));
        Assert.Empty(await fixture.PruneAsync(StorageFixture.Everything));
    }

    [Fact]
    public async Task Without_all_internal_and_frontend_records_stay()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        foreach (var type in (string[])["internal", "frontend", "source.local", "regular"])
            await (await fixture.MakeAsync(type, type: type)).DisposeAsync();
        Assert.Equal(["regular", "source.local"], (await fixture.PruneAsync(StorageFixture.Everything with { All = false })).Order());
        Assert.Equal(["frontend", "internal"], (await fixture.PruneAsync(StorageFixture.Everything)).Order());
    }

    [Fact]
    public async Task A_filter_takes_only_what_it_matches()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        foreach (var type in (string[])["exec.cachemount", "source.local", "regular"])
            await (await fixture.MakeAsync(type, type: type)).DisposeAsync();
        Assert.Equal(["exec.cachemount"], await fixture.PruneAsync(StorageFixture.Everything with { Filters = ["type==exec.cachemount"] }));
        var error = await Assert.ThrowsAsync<FormatException>(() => fixture.PruneAsync(StorageFixture.Everything with { Filters = ["size>1"] }));
        Assert.StartsWith("failed to parse prune filters [size>1]: filters: parse error: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Recently_used_records_outlive_a_keep_duration()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await (await fixture.MakeAsync("old")).DisposeAsync();
        fixture.Clock.Now += TimeSpan.FromHours(50);
        await (await fixture.MakeAsync("new")).DisposeAsync();
        Assert.Equal(["old"], await fixture.PruneAsync(StorageFixture.Everything with { KeepDuration = TimeSpan.FromHours(48) }));
    }

    [Fact]
    public async Task A_cap_deletes_one_at_a_time_least_recently_and_least_often_used_first()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var ids = new Dictionary<string, string>();
        foreach (var name in (string[])["a", "b", "c", "d"])
        {
            fixture.Clock.Now += TimeSpan.FromHours(1);
            var made = await fixture.MakeAsync(name, size: Size);
            ids[name] = made.Id;
            await made.DisposeAsync();
        }

        // "a" is the oldest but used most often by far.
        fixture.Clock.Now += TimeSpan.FromMinutes(1);
        for (var i = 0; i < 3; i++)
            await (await fixture.Refs.GetAsync(ids["a"], RefOptions.Default, default)).DisposeAsync();
        var total = (await fixture.Refs.DiskUsageAsync([], default)).Sum(u => u.Size);
        var pruned = await fixture.PruneAsync(new PruneOptions([], true, TimeSpan.Zero, 0, total - Size - (Size / 2), 0));
        Assert.Equal(["b", "c"], pruned);
        Assert.True((await fixture.Refs.DiskUsageAsync([], default)).Sum(u => u.Size) < total - Size);
    }

    [Fact]
    public async Task Parents_become_candidates_when_their_children_are_gone()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var a = await fixture.MakeAsync("a", size: Size);
        var b = await fixture.MakeAsync("b", a, size: Size);
        await a.DisposeAsync();
        await b.DisposeAsync();
        Assert.Equal(["b", "a"], await fixture.PruneAsync(new PruneOptions([], true, TimeSpan.Zero, 0, 1, 0)));
    }

    [Theory]
    [InlineData(0, 0, 30, 100, 100, null)]
    [InlineData(0, 0, 30, 100, 10, 80L)]
    [InlineData(50, 0, 30, 100, 10, 50L)]
    [InlineData(90, 0, 30, 100, 10, 80L)]
    [InlineData(90, 85, 30, 100, 10, 85L)]
    [InlineData(90, 0, 0, 100, 10, 90L)]
    [InlineData(0, 20, 30, 100, 100, 20L)]
    [InlineData(0, 0, 300, 100, 10, 0L)]
    public void Bytes_to_keep_follow_cap_free_space_and_reserve(long max, long reserved, long minFree, long total, long free, long? expected) =>
        Assert.Equal(expected, PruneSelection.KeepBytes(new PruneOptions([], false, TimeSpan.Zero, reserved, max, minFree), total, free));

    [Fact]
    public async Task Minimum_free_space_that_is_there_deletes_nothing()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await (await fixture.MakeAsync("a")).DisposeAsync();
        Assert.Empty(await fixture.PruneAsync(new PruneOptions([], true, TimeSpan.Zero, 0, 0, 1)));
    }

    [Fact]
    public void Default_policies_are_those_of_a_252_GiB_disk()
    {
        var rules = GcPolicies.Default(252L << 30);
        Assert.Equal((512_000_000, TimeSpan.FromHours(48)), (rules[0].MaxUsedSpace, rules[0].KeepDuration));
        Assert.All(rules.Skip(1), r => Assert.Equal((10_000_000_000, 51_000_000_000, 100_000_000_000), (r.ReservedSpace, r.MinFreeSpace, r.MaxUsedSpace)));
        Assert.Equal([false, false, false, true], rules.Select(r => r.All));
    }

    [Fact]
    public async Task Blobs_go_with_their_record_and_leased_ones_stay()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var (a, b) = (await fixture.MakeAsync("a"), await fixture.MakeAsync("b"));
        var blobA = (await a.GetRemotesAsync(true, CompressionOptions.Default, false, default))[0].Descriptors[0].Digest;
        var blobB = (await b.GetRemotesAsync(true, CompressionOptions.Default, false, default))[0].Descriptors[0].Digest;
        fixture.Root.Leases.Hold("history-1", blobB);
        await a.DisposeAsync();
        await b.DisposeAsync();
        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.False(fixture.Root.Content.Contains(blobA));
        Assert.True(fixture.Root.Content.Contains(blobB));
        fixture.Root.Leases.Release("history-1");
        fixture.Clock.Now += TimeSpan.FromHours(2);
        await fixture.PruneAsync();
        Assert.False(fixture.Root.Content.Contains(blobB));
    }

    [Fact]
    public async Task An_unowned_blob_stays_while_work_in_progress_may_take_it_up()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        Digest digest;
        await using (var writer = await fixture.Root.Content.OpenWriterAsync("manifest", default))
        {
            await writer.WriteAsync(new byte[] { 1 }, default);
            digest = await writer.CommitAsync(null, null, new Dictionary<string, string>(), default);
        }

        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.True(fixture.Root.Content.Contains(digest));
        fixture.Clock.Now += TimeSpan.FromHours(2);
        using (fixture.Root.Leases.HoldTemporarily(digest))
            await fixture.PruneAsync(StorageFixture.Everything);
        Assert.True(fixture.Root.Content.Contains(digest));
        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.False(fixture.Root.Content.Contains(digest));
    }

    [Fact]
    public async Task Of_a_writable_record_and_its_twin_one_is_listed_and_both_are_pruned()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var writable = await fixture.Refs.NewAsync(null, new RefOptions { Retain = true }, default);
        var twin = await writable.CommitAsync(default);
        Assert.Equal([twin.Id], (await fixture.Refs.DiskUsageAsync([], default)).Select(u => u.Id));
        await twin.DisposeAsync();
        Assert.Equal([writable.Id], (await fixture.Refs.DiskUsageAsync([], default)).Select(u => u.Id));
        var removed = new List<string>();
        fixture.Refs.RecordRemoved += removed.Add;
        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.Equal([twin.Id, writable.Id], removed);
        Assert.Empty(await fixture.Root.Snapshotter.ListAsync(default));
    }

    [Fact]
    public async Task A_held_writable_record_has_no_size()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var writable = await fixture.Refs.NewAsync(null, RefOptions.Default, default);
        var usage = Assert.Single(await fixture.Refs.DiskUsageAsync([], default));
        Assert.Equal((true, true, 0), (usage.Mutable, usage.InUse, usage.Size));
    }
}
