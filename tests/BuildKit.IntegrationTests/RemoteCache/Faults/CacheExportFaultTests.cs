using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>
/// Every fault of an export, done to every kind of store. What may pass is repeated and succeeds; what does not pass fails the build,
/// unless errors are to be ignored, and leaves the cache that was there before whole. A later export succeeds.
/// </summary>
public sealed class CacheExportFaultTests(FaultyStores stores) : IClassFixture<FaultyStores>
{
    private readonly string _place = "export-" + Guid.NewGuid().ToString("N")[..12];

    /// <summary>Faults that pass.</summary>
    public enum Passing
    {
        /// <summary>The connection breaks in the middle of a layer.</summary>
        Reset,
        /// <summary>A layer is taken, and the answer lost.</summary>
        LostAnswer,
        /// <summary>Nothing is read any more in the middle of a layer.</summary>
        Stall,
        /// <summary>Too many requests.</summary>
        Busy429,
        /// <summary>Not available, for a second.</summary>
        Busy503,
        /// <summary>Not available when the last document is written.</summary>
        Busy503AtTheEnd,
        /// <summary>The connection breaks in the middle of the last document.</summary>
        ResetAtTheEnd,
    }

    /// <summary>Faults that stay.</summary>
    public enum Lasting
    {
        /// <summary>The connection always breaks in the middle of a layer.</summary>
        Reset,
        /// <summary>Nothing is read.</summary>
        Stall,
        /// <summary>The store is never available.</summary>
        Busy503,
        /// <summary>Writing is forbidden.</summary>
        Forbidden,
        /// <summary>The store fails when the last document is written.</summary>
        ErrorAtTheEnd,
        /// <summary>Nothing is read of the last document.</summary>
        StallAtTheEnd,
    }

    [FaultTheory]
    [InlineData(Passing.Reset)]
    [InlineData(Passing.LostAnswer)]
    [InlineData(Passing.Stall)]
    [InlineData(Passing.Busy429)]
    [InlineData(Passing.Busy503)]
    [InlineData(Passing.Busy503AtTheEnd)]
    [InlineData(Passing.ResetAtTheEnd)]
    public Task What_passes_is_repeated(Passing fault) => WithBuildsAsync(async builds =>
    {
        await stores.ForEachAsync(async store =>
        {
            store.Proxy.Inject(fault is Passing.Busy503AtTheEnd or Passing.ResetAtTheEnd ? store.WritesList : store.WritesLayer, fault switch
            {
                Passing.Reset => new Fault.ResetRequest(FaultyBuild.Size / 4),
                Passing.LostAnswer => new Fault.LoseAnswer(),
                Passing.Stall => new Fault.StallRequest(20),
                Passing.Busy429 => Fault.Answer.Busy(429, seconds: 0),
                Passing.Busy503 => Fault.Answer.Busy(503, seconds: 1),
                Passing.ResetAtTheEnd => new Fault.ResetRequest(20),
                _ => Fault.Answer.Busy(503, seconds: 0),
            }, times: fault is Passing.LostAnswer or Passing.Stall ? 1 : 2);
            await builds[store].ExportAsync(stores.Client(store), store.Cache(_place) + (fault == Passing.Stall ? ",timeout=2s" : ""));
            Assert.Equal(0, store.Proxy.FaultsLeft);
        });
        await AssertWholeAsync(builds);
    });

    [FaultFact]
    public Task A_proof_of_identity_that_ends_in_the_middle_is_replaced() => WithBuildsAsync(async builds =>
    {
        await stores.ForEachAsync(async store =>
        {
            var tokens = (store as FaultyTokenRegistry)?.Tokens;
            var mayGoOn = store.Expire(store.WritesLayer) && !store.Name.StartsWith("gha", StringComparison.Ordinal);
            if (mayGoOn)
            {
                await builds[store].ExportAsync(stores.Client(store), store.Cache(_place));
                Assert.False(((store as FaultyTokenRegistry)?.Tokens ?? 1) <= (tokens ?? 0));
                return;
            }
            // An account's key, and the token or the address GitHub gave for one upload, are what they are.
            var export = await stores.Client(store).BuildPlainAsync(builds[store].Context, "--export-cache", store.Cache(_place));
            export.Failed();
            Assert.Contains(store.Name == "gha1" ? "Unauthorized" : "403", export.Errors, StringComparison.Ordinal);
            store.Proxy.Reset();
            store.ForgetReservations();
            await builds[store].ExportAsync(stores.Client(store), store.Cache(_place));
        });
        await AssertWholeAsync(builds);
    });

    [FaultTheory]
    [InlineData(Lasting.Reset)]
    [InlineData(Lasting.Stall)]
    [InlineData(Lasting.Busy503)]
    [InlineData(Lasting.Forbidden)]
    [InlineData(Lasting.ErrorAtTheEnd)]
    [InlineData(Lasting.StallAtTheEnd)]
    public Task What_stays_fails_the_build_and_leaves_the_cache_that_was_there(Lasting fault) => WithBuildsAsync(async before =>
    {
        await stores.ForEachAsync(store => before[store].ExportAsync(stores.Client(store), store.Cache(_place)));
        var builds = stores.All.ToDictionary(store => store, _ => new FaultyBuild());
        try
        {
            await stores.ForEachAsync(async store =>
            {
                store.Proxy.Reset();
                store.Proxy.Inject(fault is Lasting.ErrorAtTheEnd or Lasting.StallAtTheEnd ? store.WritesList : store.WritesLayer, fault switch
                {
                    Lasting.Reset => new Fault.ResetRequest(20),
                    Lasting.Stall or Lasting.StallAtTheEnd => new Fault.StallRequest(20),
                    Lasting.Forbidden => new Fault.Answer(403),
                    Lasting.ErrorAtTheEnd => new Fault.Answer(500),
                    _ => new Fault.Answer(503),
                }, times: 1000);
                var cache = store.Cache(_place) + (fault is Lasting.Stall or Lasting.StallAtTheEnd ? ",timeout=1s" : "");
                var export = await stores.Client(store).BuildPlainAsync(builds[store].Context, "--export-cache", cache);
                export.Failed();
                var written = store.Proxy.Requests.Count;
                store.ForgetReservations();
                var ignored = (await stores.Client(store).BuildAsync(builds[store].Context, "--export-cache", cache + ",ignore-error=true")).Succeeded();
                Assert.NotEqual("", ignored.Trace.Step(store.Step).Error);
                Assert.Contains(store.Step + "\n", export.Errors, StringComparison.Ordinal);
                Assert.Contains("\nerror: failed to solve: ", export.Errors, StringComparison.Ordinal);
                Assert.InRange(written, 1, 60); // nothing is tried for ever
                store.Proxy.Reset();
                store.ForgetReservations();
                await builds[store].AgainAsync(stores.Client(store));
            });
            // What was there is there, whole.
            await AssertWholeAsync(before);
            await stores.ForEachAsync(store => builds[store].ExportAsync(stores.Client(store), store.Cache(_place)));
            await AssertWholeAsync(builds);
        }
        finally
        {
            foreach (var build in builds.Values)
                build.Dispose();
        }
    });

    [FaultFact]
    public Task A_cache_that_is_overwritten_before_the_last_document_is_whole_whoever_is_last() => WithBuildsAsync(async builds =>
    {
        await stores.ForEachAsync(async store =>
        {
            using var other = new FaultyBuild();
            store.Proxy.Inject(store.WritesList, new Fault.Before(() => other.ExportAsync(stores.Client(store), store.Cache(_place))));
            await builds[store].ExportAsync(stores.Client(store), store.Cache(_place));
            Assert.Equal(0, store.Proxy.FaultsLeft);
        });
        // GitHub's entries are numbered: the one reserved first is not the newest.
        await stores.PruneAsync();
        await stores.ForEachAsync(async store =>
        {
            var trace = await builds[store].ImportAsync(stores.Client(store), store.Cache(_place));
            Assert.Empty(trace.Warnings);
            if (!store.Name.StartsWith("gha", StringComparison.Ordinal))
                Assert.Empty(trace.Executed);
        });
    });

    [FaultFact]
    public Task A_store_that_claims_to_have_a_layer_does_no_lasting_harm() => WithBuildsAsync(async builds =>
    {
        await stores.ForEachAsync(async store =>
        {
            if (store.Name.StartsWith("gha", StringComparison.Ordinal))
                return; // there it is a lookup, of which the next test tells
            store.Proxy.Inject(request => request.Method == "HEAD" && request.Target.Contains("blobs", StringComparison.Ordinal), new Fault.Answer(200), times: 1000);
            var export = await stores.Client(store).BuildPlainAsync(builds[store].Context, "--export-cache", store.Cache(_place));
            store.Proxy.Reset();
            if (store.Name == "registry")
            {
                export.Failed(); // a registry looks itself before it takes the list
                Assert.Contains("error writing manifest blob", export.Errors, StringComparison.Ordinal);
            }
        });
        await stores.PruneAsync();
        await stores.ForEachAsync(store => builds[store].ImportAsync(stores.Client(store), store.Cache(_place)));
        await stores.ForEachAsync(store => builds[store].ExportAsync(stores.Client(store), store.Cache(_place)));
        await AssertWholeAsync(builds);
    });

    [FaultFact]
    public Task The_export_tells_how_many_bytes_of_a_layer_it_sent() => WithBuildsAsync(async builds =>
    {
        await stores.ForEachAsync(async store =>
        {
            var build = (await stores.Client(store).BuildAsync(builds[store].Context, "--export-cache", store.Cache(_place) + ",mode=max")).Succeeded();
            var layers = build.Trace.Transfers.Where(transfer => transfer.Id.StartsWith("writing layer sha256:", StringComparison.Ordinal)).ToList();
            Assert.Equal(2, layers.Select(layer => layer.Id).Distinct().Count());
            Assert.All(layers, layer => Assert.True(layer.Total > 0, layer.ToString()));
            Assert.Contains(layers, layer => layer.Total > FaultyBuild.Size && layer.Current == layer.Total);
        });
        await stores.PruneAsync();
        await stores.ForEachAsync(async store =>
        {
            var trace = await builds[store].ImportAsync(stores.Client(store), store.Cache(_place));
            Assert.Contains(trace.Transfers, transfer => transfer.Id.StartsWith("sha256:", StringComparison.Ordinal) && transfer.Total > FaultyBuild.Size && transfer.Current == transfer.Total);
        });
    });

    private async Task WithBuildsAsync(Func<IReadOnlyDictionary<FaultyStore, FaultyBuild>, Task> test)
    {
        var builds = stores.All.ToDictionary(store => store, _ => new FaultyBuild());
        try
        {
            await test(builds);
        }
        finally
        {
            foreach (var store in stores.All)
                store.Proxy.Reset();
            foreach (var build in builds.Values)
                build.Dispose();
        }
    }

    /// <summary>An empty daemon finds everything in the stores, without a word.</summary>
    private async Task AssertWholeAsync(IReadOnlyDictionary<FaultyStore, FaultyBuild> builds)
    {
        await stores.PruneAsync();
        await stores.ForEachAsync(async store =>
        {
            var trace = await builds[store].ImportAsync(stores.Client(store), store.Cache(_place));
            FaultyBuild.AssertHit(trace);
        });
    }
}
