using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;
using BuildKit.Tests.RemoteCache.Stores;
using static BuildKit.Tests.RemoteCache.Merging.MergeKit;

namespace BuildKit.Tests.RemoteCache.Merging;

/// <summary>Writers of one cache in a registry, which replaces tags without conditions, and requests that arrive late.</summary>
public sealed class RegistryMergeTests : IAsyncLifetime
{
    private readonly MergeKit _kit = new();
    private readonly JumpingTime _time = new();
    private MemoryRegistry _registry = null!;

    public async Task InitializeAsync() => _registry = await MemoryRegistry.StartAsync();

    public async Task DisposeAsync() => await _registry.DisposeAsync();

    private Dictionary<string, string> Attributes(string more = "") => StoreKit.Attributes("ref=@/cache:v1,merge=true" + more, _registry.Host);

    private async Task ExportAsync(string branch, CancellationToken cancellationToken = default) =>
        await MergeKit.ExportAsync("registry", Attributes(), await _kit.BranchAsync(branch), _time, cancellationToken);

    private Task<MarshalledCache> ImportAsync() => MergeKit.ImportAsync("registry", Attributes(), _time);

    /// <summary>What an importer sees that knows the one tag only.</summary>
    private IEnumerable<string> Plain(params string[] names)
    {
        var config = ImageIndex.Parse(_registry.Manifest("cache:v1")).Manifests[^1];
        var records = CacheConfig.Parse(_registry.Blobs[config.Digest.ToString()]).Records;
        return names.Where(name => records.Any(record => record.Digest == Digest.Sha256("step " + name) && record.Results.Count > 0));
    }

    /// <summary>Holds the next move of a tag until the first task ends, tells when it arrived, and may do more once it is done.</summary>
    private (Task Arrived, TaskCompletionSource Release) HoldNext(string tag)
    {
        var (arrived, release) = (new TaskCompletionSource(), new TaskCompletionSource());
        var isHeld = 0;
        var others = _registry.BeforeMove;
        _registry.BeforeMove = async moved =>
        {
            if (moved != tag || Interlocked.Exchange(ref isHeld, 1) != 0)
                return await others(moved);
            arrived.SetResult();
            await release.Task;
            return null;
        };
        return (arrived.Task, release);
    }

    [Fact]
    public async Task Concurrent_writers_lose_nothing()
    {
        string[] names = [.. Enumerable.Range(0, 8).Select(i => "w" + i)];
        await Task.WhenAll(names.Select(async name => await MergeKit.ExportAsync("registry", Attributes(), await _kit.BranchAsync(name), TimeProvider.System)));
        Assert.Equal(names, Plain(names));
        Assert.Equal(_registry.Tags["cache:v1"], _registry.Tags["cache:v1.merge"]);
    }

    [Theory]
    [InlineData("v1")]
    [InlineData("v1.merge")]
    public async Task A_move_that_stalls_longer_than_anybody_waits_takes_nothing_away(string tag)
    {
        await ExportAsync("first");
        var (arrived, release) = HoldNext(tag);
        var stalled = ExportAsync("stalled");
        await arrived;
        await ExportAsync("settled");
        Assert.Equal(["first", "settled"], Plain("first", "settled"));
        release.SetResult();
        await stalled;
        Assert.Equal(["first", "settled", "stalled"], Plain("first", "settled", "stalled"));
        Assert.Equal(_registry.Tags["cache:v1"], _registry.Tags["cache:v1.merge"]);
    }

    [Theory]
    [InlineData("v1")]
    [InlineData("v1.merge")]
    public async Task The_late_move_of_a_daemon_that_died_is_repaired_by_the_next_export(string tag)
    {
        await ExportAsync("first");
        var (arrived, release) = HoldNext(tag);
        using var death = new CancellationTokenSource();
        var dead = ExportAsync("dead", death.Token);
        await arrived;
        await death.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => dead);
        await ExportAsync("settled");
        var settled = _registry.Tags[$"cache:{tag}"];
        release.SetResult();
        while (_registry.Tags[$"cache:{tag}"] == settled)
            await Task.Delay(5);

        // One of the tags was rolled back, but not the other: this importer reads both.
        Assert.Equal(["first", "settled"], Steps(await ImportAsync(), "first", "settled"));
        Assert.Equal(tag == "v1" ? ["first"] : ["first", "settled"], Plain("first", "settled"));
        await ExportAsync("next");
        Assert.Equal(["first", "settled", "dead", "next"], Plain("first", "settled", "dead", "next").Order(StringComparer.Ordinal).OrderBy(name => Array.IndexOf(["first", "settled", "dead", "next"], name)));
        Assert.Equal(_registry.Tags["cache:v1"], _registry.Tags["cache:v1.merge"]);
    }

    [Fact]
    public async Task An_export_that_meets_nobody_costs_a_few_small_requests()
    {
        await ExportAsync("a");
        await MergeKit.ExportAsync("registry", StoreKit.Attributes("ref=@/plain:v1", _registry.Host), await _kit.BranchAsync("a"), _time);
        async Task<int> CountAsync(Dictionary<string, string> attributes, string branch)
        {
            _registry.Requests.Clear();
            await MergeKit.ExportAsync("registry", attributes, await _kit.BranchAsync(branch), _time);
            return _registry.Requests.Count;
        }
        var plain = await CountAsync(StoreKit.Attributes("ref=@/plain:v1", _registry.Host), "b");
        var merging = await CountAsync(Attributes(), "c");
        // Four to read what is there (the two tags, manifest, config), the move of the second tag, and one look at each at the end.
        Assert.Equal(plain + 4 + 1 + 2, merging);
        Assert.Equal([TimeSpan.FromSeconds(0.25), TimeSpan.FromSeconds(0.25)], _time.Waits.Where(wait => wait < TimeSpan.FromSeconds(1)));
        _registry.Requests.Clear();
        await ImportAsync();
        Assert.Equal(4, _registry.Requests.Count);
    }

    [Fact]
    public async Task A_look_that_is_old_when_it_is_acted_upon_is_taken_again()
    {
        await ExportAsync("a");
        var looks = 0;
        _registry.BeforeMove = tag =>
        {
            if (tag == "v1")
                looks = _registry.Requests.Count(request => request == "HEAD /v2/cache/manifests/v1");
            return Task.FromResult<int?>(null);
        };
        _registry.Requests.Clear();
        await ExportAsync("b");
        Assert.Equal(2, looks);
        // Each answer takes a second of this clock: the look before the move is repeated a few times, then the registry is taken as it is.
        _registry.Requests.Clear();
        await MergeKit.ExportAsync("registry", Attributes(), await _kit.BranchAsync("c"), new SlowTime(_time, TimeSpan.FromSeconds(1)));
        Assert.Equal(1 + 5, looks);
    }

    [Fact]
    public async Task A_registry_that_takes_no_second_tag_has_the_first()
    {
        _registry.BeforeMove = tag => Task.FromResult<int?>(tag == "v1" ? null : 400);
        await ExportAsync("a");
        await ExportAsync("b");
        Assert.Equal(["a", "b"], Plain("a", "b"));
        Assert.Equal(["cache:v1"], _registry.Tags.Keys);
        Assert.Contains(TimeSpan.FromSeconds(2), _time.Waits);
        Assert.Equal(["a", "b"], Steps(await ImportAsync(), "a", "b"));
    }

    [Fact]
    public async Task What_a_plain_export_replaced_does_not_come_back()
    {
        await ExportAsync("old");
        await MergeKit.ExportAsync("registry", StoreKit.Attributes("ref=@/cache:v1", _registry.Host), await _kit.BranchAsync("plain"), _time);
        Assert.Equal(["plain"], Steps(await ImportAsync(), "old", "plain"));
        await ExportAsync("new");
        Assert.Equal(["plain", "new"], Steps(await ImportAsync(), "old", "plain", "new"));
        _registry.Tags.TryRemove("cache:v1", out _);
        await ExportAsync("again");
        Assert.Equal(["again"], Steps(await ImportAsync(), "old", "plain", "new", "again"));
    }

    [Fact]
    public async Task Pruning_takes_from_both_tags()
    {
        await ExportAsync("old");
        _time.Advance(TimeSpan.FromDays(10));
        await ExportAsync("young");
        var tools = new CacheTools(CacheBackendRegistry.WithBuiltIns(), StoreKit.Context(time: _time));
        var pruned = await tools.PruneAsync(new CacheLocation("registry", Attributes()), new CachePruneRequest(new CacheLimits(TimeSpan.FromDays(1), null), TimeSpan.FromHours(1)), default);
        Assert.Equal((3, 2), (pruned.ResultsBefore, pruned.ResultsAfter));
        Assert.Equal(_registry.Tags["cache:v1"], _registry.Tags["cache:v1.merge"]);
        await ExportAsync("next");
        Assert.Equal(["young", "next"], Steps(await ImportAsync(), "old", "young", "next"));
    }

    [Theory]
    [InlineData("v1", "v1.merge")]
    [InlineData("this-tag-has-just-the-length-that-leaves-room-for-what-is-put-behind-it-and-not-one-more-letter-than-that-aaaaaaaaaaaaaaaaa", null)]
    public void The_second_tag_is_a_tag(string tag, string? second)
    {
        foreach (var text in new[] { tag, tag.PadRight(128, 'x'), tag.PadRight(127, 'x') })
        {
            var name = BuildKit.RemoteCache.Backends.Registry.RegistryCache.SecondTag(text);
            Assert.Equal(name, ImageReference.Parse("a/b:c").WithTag(name).Tag);
            Assert.NotEqual(text, name);
        }
        if (second is not null)
            Assert.Equal(second, BuildKit.RemoteCache.Backends.Registry.RegistryCache.SecondTag(tag));
        Assert.NotEqual(BuildKit.RemoteCache.Backends.Registry.RegistryCache.SecondTag(tag.PadRight(127, 'x')), BuildKit.RemoteCache.Backends.Registry.RegistryCache.SecondTag(tag.PadRight(128, 'x')));
    }

    /// <summary>A clock on which something passes between any two looks at it.</summary>
    private sealed class SlowTime(TimeProvider time, TimeSpan step) : TimeProvider
    {
        private long _looks;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => time.GetUtcNow();

        public override long GetTimestamp() => Interlocked.Increment(ref _looks) * step.Ticks;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) => time.CreateTimer(callback, state, dueTime, period);
    }
}
