using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

public sealed class RefStoreTests
{
    [Fact]
    public async Task A_writable_record_without_retain_goes_with_its_handle()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var writable = await fixture.Refs.NewAsync(null, RefOptions.Default, default);
        Assert.True(fixture.Refs.Exists(writable.Id));
        await writable.DisposeAsync();
        Assert.False(fixture.Refs.Exists(writable.Id));
        Assert.Empty(await fixture.Root.Snapshotter.ListAsync(default));
    }

    [Fact]
    public async Task A_retained_writable_record_is_locked_while_held_and_can_be_opened_again()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var writable = await fixture.Refs.NewAsync(null, new RefOptions { Retain = true }, default);
        var error = await Assert.ThrowsAsync<RefLockedException>(() => fixture.Refs.GetMutableAsync(writable.Id, RefOptions.Default, default));
        Assert.Equal($"{writable.Id} is locked: locked", error.Message);
        await writable.DisposeAsync();
        await using var again = await fixture.Refs.GetMutableAsync(writable.Id, RefOptions.Default, default);
        Assert.Equal(writable.Id, again.Id);
    }

    [Fact]
    public async Task A_committed_record_can_be_written_again_until_it_is_finalized()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var writable = await fixture.Refs.NewAsync(null, new RefOptions { Retain = true, Description = "cache dir" }, default);
        var committed = await writable.CommitAsync(default);
        Assert.Equal("cache dir", committed.Metadata.Description);
        await Assert.ThrowsAsync<RefLockedException>(() => fixture.Refs.GetMutableAsync(writable.Id, RefOptions.Default, default));
        await committed.DisposeAsync();
        await using (var again = await fixture.Refs.GetMutableAsync(writable.Id, RefOptions.Default, default))
            Assert.False(fixture.Refs.Exists(committed.Id));
        await using var second = await (await fixture.Refs.GetMutableAsync(writable.Id, RefOptions.Default, default)).CommitAsync(default);
        await second.FinalizeAsync(default);
        Assert.False(fixture.Refs.Exists(writable.Id));
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => fixture.Refs.GetMutableAsync(second.Id, RefOptions.Default, default));
        Assert.Equal($"{second.Id} is not mutable: invalid", error.Message);
    }

    [Fact]
    public async Task A_child_sees_the_files_of_its_parent_and_the_parent_not_those_of_the_child()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var parent = await fixture.MakeAsync("a");
        await using var child = await fixture.MakeAsync("b", parent);
        Assert.Equal(["a", "b"], await StorageFixture.FilesAsync(child));
        Assert.Equal(["a"], await StorageFixture.FilesAsync(parent));
    }

    [Fact]
    public async Task A_layer_is_fetched_and_unpacked_when_it_is_first_mounted_and_only_once()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var (one, two) = (provider.AddListing(CompressionType.Gzip, "a"), provider.AddListing(CompressionType.Gzip, "b"));
        var options = provider.Options(one, two);
        await using var low = await fixture.Refs.GetByBlobAsync(one, null, options, default);
        await using var top = await fixture.Refs.GetByBlobAsync(two, low, options, default);
        Assert.Equal(0, provider.Opened);
        var files = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => StorageFixture.FilesAsync(top)));
        Assert.All(files, f => Assert.Equal(["a", "b"], f));
        Assert.Equal((2, 2), (provider.Opened, fixture.Layers.Applied));
        Assert.Equal("pulled from registry.example/team/app:1", top.Metadata.Description);
    }

    [Fact]
    public async Task A_lazy_record_cannot_be_opened_without_its_handlers()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        var missing = await Assert.ThrowsAsync<MissingDescriptorHandlersException>(() => fixture.Refs.GetByBlobAsync(layer, null, RefOptions.Default, default));
        Assert.Equal($"missing descriptor handlers for lazy blobs [{layer.Digest}]", missing.Message);
        string id;
        await using (var lazy = await fixture.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default))
            id = lazy.Id;
        missing = await Assert.ThrowsAsync<MissingDescriptorHandlersException>(() => fixture.Refs.GetAsync(id, RefOptions.Default, default));
        Assert.Equal([layer.Digest], missing.Digests);
        await using var found = await fixture.Refs.GetAsync(id, provider.Options(layer), default);
        Assert.Equal(["a"], await StorageFixture.FilesAsync(found));
    }

    [Fact]
    public async Task Two_compressions_of_one_layer_share_a_tree()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var (gzip, zstd) = (provider.AddListing(CompressionType.Gzip, "a"), provider.AddListing(CompressionType.Zstd, "a"));
        var options = provider.Options(gzip, zstd);
        await using var first = await fixture.Refs.GetByBlobAsync(gzip, null, options, default);
        await using var same = await fixture.Refs.GetByBlobAsync(gzip, null, options, default);
        await using var second = await fixture.Refs.GetByBlobAsync(zstd, null, options, default);
        Assert.Equal(first.Id, same.Id);
        Assert.NotEqual(first.Id, second.Id);
        await first.ExtractAsync(default);
        await second.ExtractAsync(default);
        Assert.Equal(1, fixture.Layers.Applied);
        Assert.Single(await fixture.Root.Snapshotter.ListAsync(default));
        await first.DisposeAsync();
        await same.DisposeAsync();
        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.False(fixture.Refs.Exists(first.Id));
        Assert.Equal(["a"], await StorageFixture.FilesAsync(second));
    }

    [Fact]
    public async Task A_tree_that_is_there_needs_no_blobs_but_pulling_brings_them()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        Descriptor[] gzip = [provider.AddListing(CompressionType.Gzip, "a"), provider.AddListing(CompressionType.Gzip, "b")];
        Descriptor[] zstd = [provider.AddListing(CompressionType.Zstd, "a"), provider.AddListing(CompressionType.Zstd, "b")];
        var options = provider.Options([.. gzip, .. zstd]);
        await using var low = await fixture.Refs.GetByBlobAsync(gzip[0], null, options, default);
        await using var top = await fixture.Refs.GetByBlobAsync(gzip[1], low, options, default);
        await fixture.Refs.PullAsync(top, default);
        Assert.Equal((2, 2), (provider.Opened, fixture.Layers.Applied));
        Assert.All(gzip, layer => Assert.True(fixture.Root.Content.Contains(layer.Digest)));

        await using var otherLow = await fixture.Refs.GetByBlobAsync(zstd[0], null, options, default);
        await using var otherTop = await fixture.Refs.GetByBlobAsync(zstd[1], otherLow, options, default);
        await otherTop.ExtractAsync(default);
        Assert.Equal((2, 2), (provider.Opened, fixture.Layers.Applied));
        await fixture.Refs.PullAsync(otherTop, default);
        Assert.Equal((4, 2), (provider.Opened, fixture.Layers.Applied));
        Assert.All(zstd, layer => Assert.True(fixture.Root.Content.Contains(layer.Digest)));
        Assert.Equal(["a", "b"], await StorageFixture.FilesAsync(otherTop));
    }

    [Fact]
    public async Task A_layer_that_does_not_unpack_to_its_diff_id_is_refused()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.Add(nameof(CompressionType.Uncompressed), ListingLayers.Layer("a"), Digest.Sha256("something else"));
        await using var lazy = await fixture.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default);
        await Assert.ThrowsAsync<BlobVerificationException>(() => lazy.ExtractAsync(default));
        Assert.Empty(await fixture.Root.Snapshotter.ListAsync(default));
    }

    [Fact]
    public async Task One_waiter_giving_up_does_not_stop_the_download_of_the_others()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider { Gate = new TaskCompletionSource() };
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        await using var lazy = await fixture.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default);
        using var impatient = new CancellationTokenSource();
        var first = lazy.ExtractAsync(impatient.Token);
        var second = lazy.ExtractAsync(default);
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        provider.Gate.SetResult();
        await second;
        Assert.Equal(1, provider.Opened);
    }

    [Fact]
    public async Task Remotes_round_trip_to_the_same_records()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var parent = await fixture.MakeAsync("a");
        await using var child = await fixture.MakeAsync("b", parent);
        Assert.Empty(await child.GetRemotesAsync(false, CompressionOptions.Default, false, default));
        var remote = Assert.Single(await child.GetRemotesAsync(true, CompressionOptions.Default, false, default));
        Assert.Equal(2, remote.Descriptors.Count);
        Assert.Equal("2026-01-01T00:00:00Z", remote.Descriptors[0].Annotations["buildkit/createdat"]);
        IImmutableRef? below = null;
        foreach (var layer in remote.Descriptors)
            below = await fixture.Refs.GetByBlobAsync(layer, below, RefOptions.Default, default);
        Assert.Equal(child.Id, below!.Id);
        await using var elsewhere = await StorageFixture.OpenAsync();
        below = null;
        var handlers = remote.Descriptors.ToDictionary(d => d.Digest, _ => new DescriptorHandler { Provider = remote.Provider });
        foreach (var layer in remote.Descriptors)
            below = await elsewhere.Refs.GetByBlobAsync(layer, below, new RefOptions { Handlers = handlers }, default);
        Assert.Equal(["a", "b"], await StorageFixture.FilesAsync(below!));
    }

    [Fact]
    public async Task Forced_compression_converts_once_and_lists_the_variants()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var made = await fixture.MakeAsync("a");
        var gzip = (await made.GetRemotesAsync(true, CompressionOptions.Default, false, default))[0].Descriptors[0];
        var zstdOptions = new CompressionOptions(CompressionType.Zstd, Force: true);
        var zstd = (await made.GetRemotesAsync(true, zstdOptions, false, default))[0].Descriptors[0];
        Assert.Equal(("Gzip", "Zstd"), (gzip.MediaType, zstd.MediaType));
        Assert.Equal(zstd.Digest, (await made.GetRemotesAsync(true, zstdOptions, false, default))[0].Descriptors[0].Digest);
        var all = await made.GetRemotesAsync(true, new CompressionOptions(CompressionType.Zstd), all: true, default);
        Assert.Equal([gzip.Digest, zstd.Digest], all.Select(r => r.Descriptors[0].Digest));
        await made.DisposeAsync();
        await fixture.PruneAsync(StorageFixture.Everything);
        Assert.False(fixture.Root.Content.Contains(gzip.Digest));
        Assert.False(fixture.Root.Content.Contains(zstd.Digest));
    }

    [Fact]
    public async Task Lazy_layers_are_exported_without_being_fetched()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        await using var lazy = await fixture.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default);
        var remote = Assert.Single(await lazy.GetRemotesAsync(true, CompressionOptions.Default, false, default));
        Assert.Equal(0, provider.Opened);
        Assert.Equal("team/app", remote.Descriptors[0].Annotations["containerd.io/distribution.source.registry.example"]);
        await using var stream = await remote.Provider.OpenAsync(remote.Descriptors[0], 0, default);
        Assert.Equal(1, provider.Opened);
    }

    [Fact]
    public async Task Merges_are_flat_and_diffs_reuse_layers()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var a = await fixture.MakeAsync("a");
        await using var b = await fixture.MakeAsync("b", a);
        await using var c = await fixture.MakeAsync("c", b);
        await using var x = await fixture.MakeAsync("x");
        Assert.Null(await fixture.Refs.MergeAsync([null], RefOptions.Default, default));
        await using var single = await fixture.Refs.MergeAsync([null, a], RefOptions.Default, default);
        Assert.Equal(a.Id, single!.Id);
        await using var diff = await fixture.Refs.DiffAsync(a, c, RefOptions.Default, default);
        Assert.Equal([b.Id, c.Id], Ids(diff!));
        Assert.Equal(["b", "c"], await StorageFixture.FilesAsync(diff!));
        await using var inner = await fixture.Refs.MergeAsync([x, a], RefOptions.Default, default);
        await using var outer = await fixture.Refs.MergeAsync([inner, diff], RefOptions.Default, default);
        Assert.Equal([x.Id, a.Id, b.Id, c.Id], Ids(outer!));
        Assert.Equal(["a", "b", "c", "x"], await StorageFixture.FilesAsync(outer!));
        await using var back = await fixture.Refs.DiffAsync(c, a, RefOptions.Default, default);
        Assert.Equal([back!.Id], Ids(back));
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => fixture.Refs.DiffAsync(null, a, RefOptions.Default, default));
        Assert.Equal("lower ref for diff cannot be nil", error.Message);

        static IEnumerable<string> Ids(IImmutableRef reference)
        {
            var chain = reference.LayerChain();
            foreach (var layer in chain)
                _ = layer.DisposeAsync().AsTask();
            return chain.Select(l => l.Id);
        }
    }

    [Fact]
    public async Task A_merge_has_the_chain_of_its_flat_stack()
    {
        await using var fixture = await StorageFixture.OpenAsync();
        await using var a = await fixture.MakeAsync("a");
        await using var x = await fixture.MakeAsync("x");
        await using var merge = await fixture.Refs.MergeAsync([a, x], RefOptions.Default, default);
        var layers = (await merge!.GetRemotesAsync(true, CompressionOptions.Default, false, default))[0].Descriptors;
        await using var low = await fixture.Refs.GetByBlobAsync(layers[0], null, RefOptions.Default, default);
        await using var found = await fixture.Refs.GetByBlobAsync(layers[1], low, RefOptions.Default, default);
        Assert.Equal(merge.Id, found.Id);
    }

    [Fact]
    public async Task Metadata_is_kept_and_found_by_its_index()
    {
        var directory = Directory.CreateTempSubdirectory("buildkit-storage").FullName;
        try
        {
            string id;
            await using (var fixture = await StorageFixture.OpenAsync(directory))
            {
                await using var made = await fixture.MakeAsync("a");
                id = made.Id;
                made.Metadata.Set("local.sharedKey", "k1", "local.sharedKey:k1");
                made.Metadata.SetBlob("hash", [1, 2, 3]);
            }

            await using var again = await StorageFixture.OpenAsync(directory);
            Assert.Equal([id], await again.Refs.SearchAsync("local.sharedKey:k1", default));
            var metadata = again.Refs.GetMetadata(id)!;
            Assert.Equal("k1", metadata.Get("local.sharedKey"));
            Assert.Equal([1, 2, 3], metadata.GetBlob("hash")!);
            metadata.Set("local.sharedKey", null);
            Assert.Empty(await again.Refs.SearchAsync("local.sharedKey:k1", default));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Identifiers_have_25_characters_of_base_36()
    {
        for (var i = 0; i < 200; i++)
            Assert.Matches("^[0-9a-z]{25}$", BuildKit.Storage.Identifiers.New());
    }
}
