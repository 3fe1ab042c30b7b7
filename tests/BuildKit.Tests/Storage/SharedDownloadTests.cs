using BuildKit.Oci;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Tests.Storage;

/// <summary>Several who want one lazy layer share one download; who has another source is not harmed by a bad one.</summary>
public sealed class SharedDownloadTests
{
    [Fact]
    public async Task Two_who_wait_for_a_layer_share_one_download_though_their_sources_differ()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var (first, second, layer) = Sources(inFirst: true);
        await using var one = await storage.Refs.GetByBlobAsync(layer, null, first.Options(layer), default);
        await using var two = await storage.Refs.GetByBlobAsync(layer, null, second.Options(layer), default);
        var (extractingOne, extractingTwo) = await StartAsync(one, two, first);
        first.Gate!.SetResult();
        await Task.WhenAll(extractingOne, extractingTwo);
        Assert.Equal((1, 0), (first.Opened, second.Opened));
        Assert.Equal(["a"], await StorageFixture.FilesAsync(two));
    }

    [Fact]
    public async Task When_the_source_of_the_first_fails_the_second_one_is_tried()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var (first, second, layer) = Sources(inFirst: false);
        await using var one = await storage.Refs.GetByBlobAsync(layer, null, first.Options(layer), default);
        await using var two = await storage.Refs.GetByBlobAsync(layer, null, second.Options(layer), default);
        var (extractingOne, extractingTwo) = await StartAsync(one, two, first);
        first.Gate!.SetResult();
        await Assert.ThrowsAsync<BlobNotFoundException>(() => extractingOne);
        await extractingTwo;
        Assert.Equal((1, 1), (first.Opened, second.Opened));
        Assert.Equal(["a"], await StorageFixture.FilesAsync(two));
    }

    [Fact]
    public async Task Readers_of_the_blob_itself_try_their_own_source_too()
    {
        await using var storage = await StorageFixture.OpenAsync();
        var (first, second, layer) = Sources(inFirst: false);
        await using var one = await storage.Refs.GetByBlobAsync(layer, null, first.Options(layer), default);
        await using var two = await storage.Refs.GetByBlobAsync(layer, null, second.Options(layer), default);
        var remotes = await Task.WhenAll(new[] { one, two }.Select(r => r.GetRemotesAsync(false, CompressionOptions.Default, false, default)));
        first.Gate = new TaskCompletionSource();
        var reads = remotes.Select(remote => Assert.Single(remote).Provider.OpenAsync(layer, 0, default).AsTask()).ToList();
        first.Gate.SetResult();
        await Assert.ThrowsAsync<BlobNotFoundException>(() => reads[0]);
        await using var bytes = await reads[1];
        Assert.Equal(layer.Size, bytes.Length);
    }

    [Fact]
    public async Task Who_has_the_same_source_takes_its_failure()
    {
        var flight = new SingleFlight<string, bool>();
        var (gate, source, runs) = (new TaskCompletionSource(), new object(), 0);
        Task<bool> RunAsync() => flight.RunAsync("key", async _ =>
        {
            runs++;
            await gate.Task;
            throw new InvalidOperationException("broken");
        }, default, source);
        var (one, two) = (RunAsync(), RunAsync());
        gate.SetResult();
        await Assert.ThrowsAsync<InvalidOperationException>(() => one);
        await Assert.ThrowsAsync<InvalidOperationException>(() => two);
        Assert.Equal(1, runs);
    }

    [Fact]
    public async Task However_many_wait_each_bad_source_is_tried_once()
    {
        var flight = new SingleFlight<string, int>();
        var (gate, tried) = (new TaskCompletionSource(), new System.Collections.Concurrent.ConcurrentQueue<int>());
        var all = Enumerable.Range(0, 5).Select(source => flight.RunAsync("key", async _ =>
        {
            await gate.Task;
            tried.Enqueue(source);
            return source == 3 ? source : throw new InvalidOperationException("broken");
        }, default, source)).ToList();
        gate.SetResult();
        await Task.WhenAll(all).ContinueWith(static _ => { }, TaskScheduler.Default);
        Assert.Equal(tried.Distinct(), tried);
        Assert.Contains(3, tried);
        Assert.Equal(3, await all[3]);
        Assert.All(all.Where(task => task.IsCompletedSuccessfully), task => Assert.Equal(3, task.Result));
    }

    private static (MemoryProvider First, MemoryProvider Second, Descriptor Layer) Sources(bool inFirst)
    {
        var (first, second) = (new MemoryProvider(), new MemoryProvider());
        var layer = second.AddListing(CompressionType.Gzip, "a");
        if (inFirst)
            first.AddListing(CompressionType.Gzip, "a");
        return (first, second, layer);
    }

    /// <summary>The first one's download is under way when the second one asks.</summary>
    private static async Task<(Task One, Task Two)> StartAsync(IImmutableRef one, IImmutableRef two, MemoryProvider first)
    {
        first.Gate = new TaskCompletionSource();
        var extractingOne = one.ExtractAsync(default);
        while (first.Opened == 0)
            await Task.Delay(1);
        return (extractingOne, two.ExtractAsync(default));
    }
}
