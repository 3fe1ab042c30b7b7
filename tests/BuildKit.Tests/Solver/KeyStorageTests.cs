using BuildKit.Solver;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.Solver;

public sealed class KeyStorageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("keys").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Links_results_and_backlinks_are_found(bool sqlite)
    {
        using var file = sqlite ? SqliteKeyStorage.Open(Path.Combine(_folder, "cache.db")) : null;
        ICacheKeyStorage storage = file is null ? new InMemoryKeyStorage() : file;
        var link = new CacheLink(1, 2, Hash("op"), Hash("sel"));
        var plain = new CacheLink(0, 0, Hash("op"), default);
        storage.AddLink("a", link, "b");
        storage.AddLink("a", plain, "c");
        storage.AddResult("b", new CacheResultInfo("r1", DateTimeOffset.UnixEpoch));
        for (var flushed = 0; flushed < 2; flushed++)
        {
            Assert.True(storage.Exists("a") && storage.Exists("b") && storage.Exists("c") && !storage.Exists("d"));
            Assert.Equal(["b"], storage.GetLinks("a", link));
            Assert.Empty(storage.GetLinks("a", link with { Selector = default }));
            Assert.True(storage.HasLink("a", plain, "c"));
            Assert.False(storage.HasLink("a", plain, "b"));
            Assert.Equal(new CacheBacklink("a", new CacheLink(1, 0, CacheKey.RecordDigest(Hash("op"), 2), Hash("sel"))), Assert.Single(storage.GetBacklinks("b")));
            Assert.Equal(new CacheBacklink("a", new CacheLink(0, 0, CacheKey.RecordDigest(Hash("op"), 0), default)), Assert.Single(storage.GetBacklinks("c")));
            Assert.Equal(DateTimeOffset.UnixEpoch, storage.GetResult("b", "r1")!.Value.CreatedAt);
            Assert.Equal(["b"], storage.GetKeysOfResult("r1"));
            Assert.Equal(["r1"], storage.GetResultIds());
            file?.Flush();
        }
        storage.Release("r1");
        Assert.False(storage.Exists("b"));
        Assert.Empty(storage.GetLinks("a", link));
        Assert.True(storage.Exists("a"));
    }

    [Fact]
    public void Releasing_the_last_result_of_a_chain_removes_the_chain()
    {
        using var storage = SqliteKeyStorage.Open(Path.Combine(_folder, "cache.db"));
        var link = new CacheLink(0, 0, Hash("op"), default);
        storage.AddLink("a", link, "b");
        storage.AddLink("b", link, "c");
        storage.AddResult("c", new CacheResultInfo("r", DateTimeOffset.UnixEpoch));
        storage.Release("r");
        Assert.False(storage.Exists("a") || storage.Exists("b") || storage.Exists("c"));
    }

    [Fact]
    public async Task A_new_solver_finds_what_an_earlier_one_stored_in_the_file()
    {
        var path = Path.Combine(_folder, "cache.db");
        var ledger = new Ledger();
        var results = new FakeResults(ledger);
        var resolver = new TestBench();
        Vertex Graph() => Step("b", [Out(Step("a"))]);
        foreach (var expected in new[] { "a b", "" })
        {
            using var keys = SqliteKeyStorage.Open(path);
            await using var solver = new GraphSolver(resolver, new LocalCacheManager(keys, results), TimeProvider.System);
            var job = solver.NewJob("job");
            await using (await job.BuildAsync(Out(Graph()), default))
            {
            }
            await job.DiscardAsync();
            Assert.Equal(expected, resolver.TakeExecuted());
        }
    }

    [Fact]
    public void Builds_that_are_answered_from_cache_leave_nothing_behind()
    {
        using var file = SqliteKeyStorage.Open(Path.Combine(_folder, "cache.db"));
        var storage = new SessionKeyStorage(file, mostKeys: 8);
        var link = new CacheLink(1, 0, Hash("copy"), Hash("selector"));
        storage.AddResult("copied", new CacheResultInfo("result", DateTimeOffset.UnixEpoch));
        storage.AddLink("content", link with { Selector = default }, "copied");
        file.Flush();
        var before = file.Count();
        for (var build = 0; build < 100; build++)
        {
            // Each build has a session of its own, whose key is linked to what its content was found to be.
            var session = $"random:{Hash("session" + build).Hex}";
            storage.AddLink(session, link, "copied");
            storage.AddResult(session, new CacheResultInfo("context", DateTimeOffset.UnixEpoch));
            Assert.Equal(["copied"], storage.GetLinks(session, link));
            Assert.True(storage.HasLink(session, link, "copied") && storage.Exists(session));
            Assert.Contains(storage.GetBacklinks("copied"), b => b.Source == session);
        }
        file.Flush();
        Assert.Equal(before, file.Count());
        Assert.Equal(8, storage.SessionKeyCount);
        Assert.Equal(9, storage.GetBacklinks("copied").Count);

        storage.Release("context");
        Assert.Equal(8, storage.SessionKeyCount); // the links are still good
        storage.Release("result");
        Assert.Equal((0, 0, 0), file.Count());
        Assert.Empty(storage.GetLinks($"random:{Hash("session99").Hex}", link));
    }

    [Fact]
    public void A_link_stored_while_its_target_is_released_is_dropped_later()
    {
        using var storage = SqliteKeyStorage.Open(Path.Combine(_folder, "cache.db"));
        var link = new CacheLink(0, 0, Hash("op"), default);
        storage.AddLink("kept", link, "top");
        storage.AddResult("top", new CacheResultInfo("r", DateTimeOffset.UnixEpoch));
        storage.AddLink("a", link, "released");
        storage.Flush();
        storage.DropUnused();
        Assert.Equal((2, 1, 1), storage.Count());
        Assert.False(storage.Exists("a") || storage.Exists("released"));
    }

    [Fact]
    public void Session_keys_of_earlier_versions_are_removed_at_open()
    {
        var path = Path.Combine(_folder, "cache.db");
        using (var earlier = SqliteKeyStorage.Open(path))
        {
            earlier.AddLink("random:1", new CacheLink(0, 0, Hash("op"), default), "top");
            earlier.AddResult("random:1", new CacheResultInfo("context", DateTimeOffset.UnixEpoch));
            earlier.AddResult("top", new CacheResultInfo("r", DateTimeOffset.UnixEpoch));
        }
        using var storage = SqliteKeyStorage.Open(path);
        Assert.Equal((1, 0, 1), storage.Count());
    }

    [Fact]
    public void Many_links_are_stored_and_found()
    {
        using var storage = SqliteKeyStorage.Open(Path.Combine(_folder, "cache.db"));
        var link = new CacheLink(0, 0, Hash("op"), default);
        for (var i = 0; i < 20_000; i++)
            storage.AddLink("source" + (i % 100), link, "target" + i);
        storage.Flush();
        Assert.Equal(200, storage.GetLinks("source7", link).Count);
    }
}
