using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>
/// Every fault of an import, done to every kind of store. What may pass is repeated and succeeds; what does not pass is a miss with
/// one warning that names the cache, the layer and the reason. The result is what a build without a cache gives, and the daemon
/// goes on.
/// </summary>
public sealed class CacheImportFaultTests(FaultyStores stores) : IClassFixture<FaultyStores>
{
    private const int Half = FaultyBuild.Size / 2;

    private readonly string _place = "import-" + Guid.NewGuid().ToString("N")[..12];

    /// <summary>Faults in the middle of a layer that pass.</summary>
    public enum Passing
    {
        /// <summary>The connection breaks.</summary>
        Reset,
        /// <summary>It breaks again and again, each time a little further on.</summary>
        ResetThreeTimes,
        /// <summary>It breaks before the first byte.</summary>
        ResetAtOnce,
        /// <summary>The answer is too short, and consistent in itself.</summary>
        CutOff,
        /// <summary>Nothing comes any more.</summary>
        Stall,
        /// <summary>Too many requests.</summary>
        Busy429,
        /// <summary>Not available, for a second.</summary>
        Busy503,
        /// <summary>What proves the client's identity ends.</summary>
        ExpiredProof,
    }

    /// <summary>Faults of a layer that stay.</summary>
    public enum Lasting
    {
        /// <summary>It is not there, though the list names it.</summary>
        Missing,
        /// <summary>It has other bytes.</summary>
        WrongDigest,
        /// <summary>It is too short.</summary>
        CutOff,
        /// <summary>The connection always breaks before the first byte.</summary>
        Reset,
        /// <summary>Nothing comes.</summary>
        Stall,
        /// <summary>The store is never available.</summary>
        Busy503,
        /// <summary>Reading is forbidden.</summary>
        Forbidden,
    }

    /// <summary>Faults of the documents that say what the cache holds.</summary>
    public enum OfList
    {
        /// <summary>They are not there.</summary>
        Missing,
        /// <summary>They are no documents.</summary>
        Garbage,
        /// <summary>They end too early.</summary>
        CutOff,
        /// <summary>The store is never available.</summary>
        Busy503,
        /// <summary>Nothing comes.</summary>
        Stall,
        /// <summary>The client may not read.</summary>
        Forbidden,
    }

    [FaultTheory]
    [InlineData(Passing.Reset)]
    [InlineData(Passing.ResetThreeTimes)]
    [InlineData(Passing.ResetAtOnce)]
    [InlineData(Passing.CutOff)]
    [InlineData(Passing.Stall)]
    [InlineData(Passing.Busy429)]
    [InlineData(Passing.Busy503)]
    [InlineData(Passing.ExpiredProof)]
    public Task What_passes_in_the_middle_of_a_layer_costs_nothing(Passing fault) => OnCachesAsync(async (store, build) =>
    {
        bool OfLayer(ProxiedRequest request) => store.ReadsLayer(request, build.Layer);
        var mayGoOn = true;
        switch (fault)
        {
            case Passing.Reset:
                store.Proxy.Inject(OfLayer, new Fault.ResetAnswer(Half));
                break;
            case Passing.ResetThreeTimes:
                store.Proxy.Inject(OfLayer, new Fault.ResetAnswer(50_000), times: 3);
                break;
            case Passing.ResetAtOnce:
                store.Proxy.Inject(OfLayer, new Fault.ResetRequest(0));
                break;
            case Passing.CutOff:
                store.Proxy.Inject(OfLayer, new Fault.Truncate(Half));
                break;
            case Passing.Stall:
                store.Proxy.Inject(OfLayer, new Fault.Stall(Half));
                break;
            case Passing.Busy429:
                store.Proxy.Inject(OfLayer, Fault.Answer.Busy(429, seconds: 0), times: 2);
                break;
            case Passing.Busy503:
                store.Proxy.Inject(OfLayer, Fault.Answer.Busy(503, seconds: 1));
                break;
            case Passing.ExpiredProof:
                store.Proxy.Inject(OfLayer, new Fault.ResetAnswer(Half));
                mayGoOn = store.Expire(request => OfLayer(request) && request.Range.Length > 0);
                break;
        }
        var tokens = (store as FaultyTokenRegistry)?.Tokens;
        var trace = await build.ImportAsync(stores.Client(store), store.Cache(_place) + (fault == Passing.Stall ? store.Patience(3) : ""));
        if (!mayGoOn)
        {
            AssertMiss(trace, store, build, "AuthenticationFailed");
            return;
        }
        FaultyBuild.AssertHit(trace);
        var reads = store.Proxy.Requests.Where(OfLayer).ToList();
        Assert.True(reads.Count >= 2, string.Join('\n', reads));
        Assert.InRange(reads.Sum(read => read.Answered), FaultyBuild.Size, FaultyBuild.Size * 5 / 4); // no byte twice
        if (fault is Passing.Reset or Passing.ResetThreeTimes or Passing.CutOff or Passing.Stall or Passing.ExpiredProof)
            Assert.All(reads.Skip(1), read => Assert.Matches("^bytes=[1-9][0-9]*-", read.Range));
        if (fault == Passing.ExpiredProof && tokens is not null)
            Assert.True(((FaultyTokenRegistry)store).Tokens > tokens);
        if (fault != Passing.ExpiredProof)
            Assert.Equal(0, store.Proxy.FaultsLeft);
    });

    [FaultTheory]
    [InlineData(Lasting.Missing)]
    [InlineData(Lasting.WrongDigest)]
    [InlineData(Lasting.CutOff)]
    [InlineData(Lasting.Reset)]
    [InlineData(Lasting.Stall)]
    [InlineData(Lasting.Busy503)]
    [InlineData(Lasting.Forbidden)]
    public Task A_layer_that_cannot_be_had_is_a_miss_with_one_warning(Lasting fault) => OnCachesAsync(async (store, build) =>
    {
        var (harm, reason) = fault switch
        {
            Lasting.Missing => ((Fault)new Fault.Answer(404), store.Name == "registry" ? "not found" : "404"),
            Lasting.WrongDigest => (new Fault.Corrupt(Half), "unexpected commit digest sha256:"),
            Lasting.CutOff => (new Fault.Truncate(0), "unexpected EOF"),
            Lasting.Reset => (new Fault.ResetRequest(0), ""),
            Lasting.Stall => (new Fault.Stall(0), ""),
            Lasting.Busy503 => (new Fault.Answer(503), "503"),
            _ => (new Fault.Answer(403), "403"),
        };
        store.Proxy.Inject(request => store.ReadsLayer(request, build.Layer), harm, times: 1000);
        var trace = await build.ImportAsync(stores.Client(store), store.Cache(_place) + (fault == Lasting.Stall ? store.Patience(1) : ""));
        AssertMiss(trace, store, build, reason);
        // Nothing is asked for ever.
        Assert.InRange(store.Proxy.Requests.Count(request => store.ReadsLayer(request, build.Layer)), 1, 16);
    });

    [FaultTheory]
    [InlineData(OfList.Missing)]
    [InlineData(OfList.Garbage)]
    [InlineData(OfList.CutOff)]
    [InlineData(OfList.Busy503)]
    [InlineData(OfList.Stall)]
    [InlineData(OfList.Forbidden)]
    public Task A_cache_whose_list_cannot_be_had_shows_in_its_step_and_all_is_executed(OfList fault) => OnCachesAsync(async (store, build) =>
    {
        store.Proxy.Inject(store.ReadsList, fault switch
        {
            OfList.Missing => new Fault.Answer(404, store.Name == "s3" ? "<Error><Code>NoSuchKey</Code></Error>" : ""),
            OfList.Garbage => new Fault.Answer(200, "{\"layers\":[{"),
            OfList.CutOff => new Fault.Truncate(30),
            OfList.Busy503 => new Fault.Answer(503),
            OfList.Stall => new Fault.Stall(10),
            _ => new Fault.Answer(403),
        }, times: 1000);
        var trace = await build.ImportAsync(stores.Client(store), store.Cache(_place) + (fault == OfList.Stall ? store.Patience(1) : ""));
        Assert.Equal(2, trace.Executed.Count);
        Assert.Empty(trace.Warnings);
        var step = Assert.Single(trace.Vertices, vertex => vertex.Name.StartsWith("importing cache manifest from " + store.KnownAs(_place), StringComparison.Ordinal));
        // An object that is not there is an empty bucket, as in the original.
        if (fault == OfList.Missing && store.Name == "s3")
            Assert.Equal("", step.Error);
        else
            Assert.StartsWith($"failed to configure {(store.Name.StartsWith("gha", StringComparison.Ordinal) ? "gha" : store.Name)} cache importer: ", step.Error, StringComparison.Ordinal);
    });

    [FaultFact]
    public Task A_list_that_is_late_is_waited_for() => OnCachesAsync(async (store, build) =>
    {
        store.Proxy.Inject(store.ReadsList, Fault.Answer.Busy(503, seconds: 0));
        store.Proxy.Inject(store.ReadsList, new Fault.ResetAnswer(20));
        var trace = await build.ImportAsync(stores.Client(store), store.Cache(_place));
        FaultyBuild.AssertHit(trace);
        Assert.Equal(0, store.Proxy.FaultsLeft);
    });

    [FaultFact]
    public Task A_cache_that_is_overwritten_between_its_list_and_its_layers_is_never_mixed_up() => OnCachesAsync(async (store, build) =>
    {
        using var other = new FaultyBuild();
        store.Proxy.Inject(request => store.ReadsLayer(request, build.Layer), new Fault.Before(() => other.ExportAsync(stores.Client(store), store.Cache(_place))));
        Assert.Empty((await build.ImportAsync(stores.Client(store), store.Cache(_place))).Executed);
        Assert.Equal(0, store.Proxy.FaultsLeft);
    });

    /// <summary>Exports a build of its own into every store, empties the daemon, does something with each, and builds once more.</summary>
    private async Task OnCachesAsync(Func<FaultyStore, FaultyBuild, Task> cell)
    {
        var builds = stores.All.ToDictionary(store => store, _ => new FaultyBuild());
        try
        {
            await stores.ForEachAsync(store => builds[store].ExportAsync(stores.Client(store), store.Cache(_place)));
            await stores.PruneAsync();
            foreach (var store in stores.All)
                store.Proxy.Reset();
            await stores.ForEachAsync(async store =>
            {
                await cell(store, builds[store]);
                await builds[store].AgainAsync(stores.Client(store));
            });
        }
        finally
        {
            foreach (var store in stores.All)
                store.Proxy.Reset();
            foreach (var build in builds.Values)
                build.Dispose();
        }
    }

    private void AssertMiss(BuildTrace trace, FaultyStore store, FaultyBuild build, string reason)
    {
        Assert.Equal([FaultyBuild.BrokenStep], trace.Executed.Where(step => step == FaultyBuild.BrokenStep));
        var warning = Assert.Single(trace.Warnings);
        Assert.StartsWith($"layer sha256:{build.Layer} of the cache {store.KnownAs(_place)}", warning, StringComparison.Ordinal);
        Assert.Contains(" cannot be used, steps that need it are executed: ", warning, StringComparison.Ordinal);
        Assert.Contains(reason, warning, StringComparison.Ordinal);
        Assert.DoesNotContain("sig=", warning, StringComparison.Ordinal);
    }
}
