using System.Text;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>A build that imports several caches, and who may use a registry that asks.</summary>
[Collection(RoundTripCollection.Name)]
public sealed class SeveralCachesTests(RoundTripFixture fixture)
{
    [RoundTripFact]
    public async Task Every_stage_comes_from_another_cache()
    {
        var backends = RoundTripFixture.Backends;
        using var temp = new TempDirectory();
        using var context = StagesContext(backends.Count);
        List<CacheStore> stores = [.. backends.Select(b => fixture.NewStore(b, temp))];
        for (var i = 0; i < stores.Count; i++)
            Assert.Single((await fixture.First.BuildAsync(context, [.. stores[i].Exporting(i % 2 == 0 ? "min" : "max", ""), "--opt", $"target=stage{i}"])).Succeeded().Trace.Executed);
        (await fixture.First.BuildAsync(context, RoundTripFixture.TarTo($"{temp.Path}/first.tar"))).Succeeded();

        // What no cache has is the last stage; each stage was built once, by the first daemon.
        var second = await fixture.EmptySecondAsync();
        var all = (await second.BuildAsync(context, [.. Importing(stores), .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded();
        Assert.All(all.Trace.Executed, step => Assert.Contains("COPY --from=stage", step, StringComparison.Ordinal));
        Assert.Equal(stores.Count, all.Trace.Executed.Count);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
        Assert.Equal(stores.Count, all.Trace.Cached.Count);
        Assert.Equal(stores.Count, all.Trace.Vertices.Count(v => v.Name.StartsWith("importing cache manifest from ", StringComparison.Ordinal)));

        // Without one of them exactly its stage is executed.
        for (var i = 0; i < stores.Count; i += 3)
        {
            second = await fixture.EmptySecondAsync();
            var some = (await second.BuildAsync(context, Importing(stores.Where((_, other) => other != i)))).Succeeded();
            Assert.StartsWith($"[stage{i} 2/2] RUN ", Assert.Single(some.Trace.Executed, step => !step.Contains("COPY", StringComparison.Ordinal)), StringComparison.Ordinal);
        }
    }

    [RoundTripFact]
    public async Task The_last_stage_from_one_cache_and_the_others_from_another()
    {
        using var temp = new TempDirectory();
        using var context = fixture.Context();
        var (stage, result) = (fixture.NewStore("registry", temp), fixture.NewStore("local", temp));
        (await fixture.First.BuildAsync(context, [.. stage.Exporting("max", ""), "--opt", "target=build"])).Succeeded();
        (await fixture.First.BuildAsync(context, [.. result.Exporting("min", ""), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        var second = await fixture.EmptySecondAsync();
        Assert.Equal(2, (await second.BuildAsync(context, "--import-cache", stage.Import)).Succeeded().Trace.Executed.Count);
        second = await fixture.EmptySecondAsync();
        Assert.Empty((await second.BuildAsync(context, [.. Importing([stage, result]), .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded().Trace.Executed);
        Assert.Empty((await second.BuildAsync(context, [.. Importing([result, stage]), "--opt", "target=build"])).Succeeded().Trace.Executed);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
    }

    /// <summary>Clients are told of one manifest only by the original, and write it into every directory.</summary>
    [RoundTripFact]
    public async Task Each_of_several_caches_has_the_layout_that_was_asked_for_it()
    {
        using var temp = new TempDirectory();
        using var context = fixture.Context();
        (string Backend, string Options, string MediaType)[] asked =
        [
            ("local", "", "application/vnd.oci.image.index.v1+json"),
            ("registry", ",image-manifest=true", "application/vnd.oci.image.manifest.v1+json"),
            ("local", ",image-manifest=true", "application/vnd.oci.image.manifest.v1+json"),
            ("local", ",oci-mediatypes=false", "application/vnd.docker.distribution.manifest.list.v2+json"),
            ("registry token", ",oci-mediatypes=false", "application/vnd.docker.distribution.manifest.list.v2+json"),
        ];
        var stores = asked.Select(a => (Store: fixture.NewStore(a.Backend, temp), a.Options, a.MediaType)).ToList();
        (await fixture.First.BuildAsync(context, [.. stores.SelectMany(s => s.Store.Exporting("max", s.Options))])).Succeeded();
        foreach (var (store, _, mediaType) in stores)
        {
            Assert.Equal(mediaType, (await store.ReadAsync()).MediaType);
            var second = await fixture.EmptySecondAsync();
            Assert.Empty((await second.BuildAsync(context, "--import-cache", store.Import)).Succeeded().Trace.Executed);
        }

        // A directory whose export failed gets nobody else's manifest.
        var (failed, other) = (new LocalStore($"{temp.Path}/failed"), fixture.NewStore("registry", temp));
        (await fixture.First.BuildPlainAsync(
            context, [.. failed.Exporting("max", ",oci-mediatypes=false,image-manifest=true,ignore-error=true"), .. other.Exporting("max", "")])).Succeeded();
        Assert.False(File.Exists($"{failed.Directory}/index.json"));
        Assert.Equal(6, (await other.VerifyAsync()).Count);
    }

    [RoundTripTheory]
    [InlineData("registry basic", "401 Unauthorized")]
    [InlineData("registry token", "push access denied, repository does not exist or may require authorization")]
    public async Task A_registry_that_asks_for_credentials_takes_nothing_without(string backend, string error)
    {
        using var temp = new TempDirectory();
        using var context = fixture.Context();
        var store = fixture.NewStore(backend, temp);
        var stranger = new Buildctl(fixture.FirstAddress);
        Assert.Contains(error, (await stranger.BuildPlainAsync(context, store.Exporting("max", ""))).Failed().Errors, StringComparison.Ordinal);
        var asked = fixture.TokenRegistry.TokenRequests.Count;
        (await fixture.First.BuildAsync(context, store.Exporting("max", ""))).Succeeded();
        var second = await fixture.EmptySecondAsync();
        Assert.Empty((await second.BuildAsync(context, "--import-cache", store.Import)).Succeeded().Trace.Executed);
        if (backend == "registry token")
        {
            var repository = ((RegistryStore)store).Reference.Split('/', ':')[2];
            var scopes = fixture.TokenRegistry.TokenRequests.Skip(asked).SelectMany(scope => scope.Split(' ')).Where(scope => scope.Contains(repository + ":", StringComparison.Ordinal));
            Assert.Equal([$"repository:{repository}:pull,push", $"repository:{repository}:pull"], scopes.Distinct());
        }
        else
        {
            // This one does not let strangers read either; the other gives them a token for that.
            Assert.Contains("ERROR: failed to configure registry cache importer: unexpected status from HEAD request", (await stranger.BuildPlainAsync(context, "--import-cache", store.Import)).Succeeded().Errors, StringComparison.Ordinal);
        }
    }

    private ContextDirectory StagesContext(int stages)
    {
        var text = new StringBuilder();
        for (var i = 0; i < stages; i++)
            text.Append($"FROM {fixture.Base} AS stage{i}\nRUN echo {Guid.NewGuid():N} > /file{i}\n");
        text.Append("FROM scratch\n");
        for (var i = 0; i < stages; i++)
            text.Append($"COPY --from=stage{i} /file{i} /\n");
        return new ContextDirectory(text.ToString());
    }

    private static string[] Importing(IEnumerable<CacheStore> stores) => [.. stores.SelectMany(s => new[] { "--import-cache", s.Import })];
}
