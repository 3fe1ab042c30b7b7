using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

public sealed class LostBlobTests
{
    [Fact]
    public async Task A_resumed_download_with_wrong_bytes_is_started_afresh_once()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a", "b");
        await using (var partial = await storage.Root.Content.OpenWriterAsync("x", default))
            await partial.WriteAsync(new byte[3], default);
        await storage.Root.Content.FetchAsync(provider, layer, "x", new Dictionary<string, string>(), null, default);
        Assert.True(storage.Root.Content.Contains(layer.Digest));
        Assert.Equal(2, provider.Opened);
    }

    [Fact]
    public async Task A_download_that_is_wrong_from_its_start_fails_at_once()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        provider[layer.Digest] = new byte[layer.Size];
        await Assert.ThrowsAsync<BlobVerificationException>(
            () => storage.Root.Content.FetchAsync(provider, layer, "x", new Dictionary<string, string>(), null, default));
        Assert.Equal(1, provider.Opened);
    }

    [Fact]
    public async Task A_lost_blob_is_made_again_from_the_tree_when_nobody_can_fetch_it()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        string id;
        await using (var pulled = await storage.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default))
        {
            id = pulled.Id;
            await pulled.ExtractAsync(default);
        }

        await storage.Root.Content.DeleteAsync(layer.Digest, default);
        await using var reference = await storage.Refs.GetAsync(id, RefOptions.Default, default);
        var remote = Assert.Single(await reference.GetRemotesAsync(true, CompressionOptions.Default, false, default));
        var made = Assert.Single(remote.Descriptors);
        await using var bytes = await remote.Provider.OpenAsync(made, 0, default);
        Assert.Equal(made.Size, bytes.Length);
        Assert.DoesNotContain(made.Annotations.Keys, static key => key.StartsWith("containerd.io/distribution.source.", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_fetched_blob_says_where_it_came_from()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var provider = new MemoryProvider();
        var layer = provider.AddListing(CompressionType.Gzip, "a");
        await using var pulled = await storage.Refs.GetByBlobAsync(layer, null, provider.Options(layer), default);
        await pulled.ExtractAsync(default);
        var descriptor = Assert.Single(Assert.Single(await pulled.GetRemotesAsync(false, CompressionOptions.Default, false, default)).Descriptors);
        Assert.Equal("team/app", descriptor.Annotations["containerd.io/distribution.source.registry.example"]);
        var info = await storage.Root.Content.GetInfoAsync(layer.Digest, default);
        Assert.Equal("team/app", info!.Labels["containerd.io/distribution.source.registry.example"]);
    }
}
