using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;
using BuildKit.Tests.RemoteCache.Stores;
using BuildKit.Tests.Support;

namespace BuildKit.Tests.RemoteCache.Merging;

/// <summary>Tools over recorded cache directories and a store in memory.</summary>
public sealed class CacheToolTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("cachetools-").FullName;
    private readonly CacheTools _tools = new(CacheBackendRegistry.WithBuiltIns(), StoreKit.Context());

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static CacheLocation Golden(string entry, string tag = "latest") => Local(Support.Golden.Path("cache", "v0.20.0", entry, "dir"), tag);

    private static CacheLocation Local(string directory, string tag = "latest") =>
        new("local", new Dictionary<string, string>(StringComparer.Ordinal) { ["src"] = directory, ["tag"] = tag });

    [Fact]
    public async Task The_stock_of_a_recorded_cache_is_what_its_config_says()
    {
        var inventory = new CacheInventory(await _tools.ReadAsync(Golden("local-max"), StoreKit.Progress(), believe: true, default));
        Assert.Equal(12, inventory.Records.Count);
        Assert.Equal(7, inventory.Results);
        Assert.Equal(6, inventory.Layers.Count);
        // The blob both RUN and COPY made is one layer with users of both.
        var shared = Assert.Single(inventory.Layers, layer => layer.Descriptor.Digest.ToString().StartsWith("sha256:084bae", StringComparison.Ordinal));
        Assert.True(shared.UsedBy.Count >= 2);
        var image = Assert.Single(inventory.Records, record => record.Record.Digest.ToString().StartsWith("sha256:43340346", StringComparison.Ordinal));
        Assert.Equal(3, image.Chain.Count);
        Assert.Empty(image.Dependents);
    }

    [Theory]
    [InlineData("local-max")]
    [InlineData("local-max-docker")]
    [InlineData("local-max-image-manifest")]
    [InlineData("local-max-zstd")]
    public async Task A_recorded_cache_is_intact_and_copied_whole(string entry)
    {
        var cache = await _tools.ReadAsync(Golden(entry), StoreKit.Progress(), believe: true, default);
        Assert.Empty(await CacheVerification.RunAsync(cache, null, default));
        await _tools.CopyAsync(Golden(entry), Local(_directory, "copy"), StoreKit.Progress(), default);
        var copy = new CacheInventory(await _tools.ReadAsync(Local(_directory, "copy"), StoreKit.Progress(), believe: true, default));
        Assert.True(CacheDifference.Between(new CacheInventory(cache), copy).IsEmpty);
    }

    [Fact]
    public async Task Pruning_a_directory_keeps_what_other_tags_need()
    {
        await _tools.CopyAsync(Golden("local-max"), Local(_directory, "max"), StoreKit.Progress(), default);
        await _tools.CopyAsync(Golden("local-min"), Local(_directory, "min"), StoreKit.Progress(), default);
        var files = Directory.GetFiles(_directory + "/blobs/sha256").Length;
        // Recorded long ago: nothing of the result is young enough.
        var request = new CachePruneRequest(new CacheLimits(TimeSpan.FromTicks(1), null), TimeSpan.Zero);
        var pruned = await _tools.PruneAsync(Local(_directory, "max"), request, default);
        Assert.Equal((7, 0), (pruned.ResultsBefore, pruned.ResultsAfter));
        Assert.True(pruned.Removed.Count > 0);
        Assert.True(Directory.GetFiles(_directory + "/blobs/sha256").Length < files);
        var min = await _tools.ReadAsync(Local(_directory, "min"), StoreKit.Progress(), believe: true, default);
        Assert.Empty(await CacheVerification.RunAsync(min, null, default));
    }

    [Fact]
    public async Task A_location_is_shown_without_its_secrets()
    {
        var location = new CacheLocation("s3", StoreKit.Attributes("bucket=b,access_key_id=I,secret_access_key=S,session_token=T"));
        Assert.Equal("type=s3,bucket=b", location.ToString());
        await using var store = await MemoryStore.StartAsync();
        var attributes = StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s", store.Host);
        var error = await Assert.ThrowsAsync<RemoteCacheException>(() => _tools.ReadAsync(new CacheLocation("s3", attributes), StoreKit.Progress(), true, default));
        Assert.Equal($"no cache at type=s3,bucket=b,endpoint_url=http://{store.Host},region=r,use_path_style=true", error.Message);
    }

    [Fact]
    public async Task A_config_that_cannot_be_read_stops_the_removal_of_layers()
    {
        await using var store = await MemoryStore.StartAsync();
        store.KnowsConditions = true;
        var location = new CacheLocation("s3", StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s", store.Host));
        await _tools.CopyAsync(Golden("local-max"), location, StoreKit.Progress(), default);
        store.Objects["/b/blobs/sha256%3A" + new string('a', 64)] = [1];
        store.Objects["/b/manifests/other"] = "not a config"u8.ToArray();
        store.Age = TimeSpan.FromDays(1);
        var request = new CachePruneRequest(CacheLimits.None, TimeSpan.FromHours(1));
        var count = store.Objects.Count;
        var error = await Assert.ThrowsAsync<RemoteCacheException>(() => _tools.PruneAsync(location, request, default));
        Assert.Contains("nothing was removed", error.Message, StringComparison.Ordinal);
        Assert.Equal(count, store.Objects.Count);
    }
}
