using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>Which form layers have that exist already, and how small new ones get; one build exports to every backend at once.</summary>
[Collection(RoundTripCollection.Name)]
public sealed class RecompressionTests(RoundTripFixture fixture)
{
    public static TheoryData<string> Compressions() => [.. RoundTripFixture.Compressions];

    [RoundTripTheory]
    [MemberData(nameof(Compressions))]
    public async Task One_build_exports_to_every_backend_and_forced_compression_converts_the_base_image_too(string compression)
    {
        using var context = fixture.Context(compression == "gzip" ? fixture.ZstdBase : fixture.Base);
        using var temp = new TempDirectory();
        var stores = Stores(temp);
        var inline = fixture.NewStore("inline", temp);
        var options = $",compression={compression},force-compression=true";
        (await fixture.First.BuildAsync(
            context, [.. stores.SelectMany(s => s.Store.Exporting("max", options)), .. inline.Exporting("min", options), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        foreach (var (backend, store) in stores.Append(("inline", inline)))
        {
            var layers = await store.VerifyAsync();
            Assert.True(layers.Count == (store == inline ? 3 : 6), $"{backend} has {layers.Count} layers");
            Assert.True(layers.All(l => l.Form == compression), $"{backend} has {string.Join(' ', layers.Select(l => l.Form))}");

            var second = await fixture.EmptySecondAsync();
            var import = (await second.BuildAsync(context, ["--import-cache", store.Import, .. RoundTripFixture.TarTo($"{temp.Path}/{backend}.tar")])).Succeeded();
            Assert.True(import.Trace.Executed.Count == 0, $"{backend}: {string.Join(", ", import.Trace.Executed)}");
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/{backend}.tar"));
        }
    }

    [RoundTripTheory]
    [MemberData(nameof(Compressions))]
    public async Task What_exists_in_another_form_stays_so_unless_that_is_forced(string compression)
    {
        var before = compression == "gzip" ? "zstd" : "gzip";
        using var context = fixture.Context(compression == "gzip" ? fixture.ZstdBase : fixture.Base);
        using var temp = new TempDirectory();
        var (first, kept, forced) = (fixture.NewStore("local", temp), fixture.NewStore("local", temp), fixture.NewStore("local", temp));
        (await fixture.First.BuildAsync(context, first.Exporting("max", ",compression=" + before))).Succeeded();
        var export = (await fixture.First.BuildAsync(context, kept.Exporting("max", ",compression=" + compression))).Succeeded();
        Assert.Empty(export.Trace.Executed);
        Assert.Equal((await first.VerifyAsync()).Select(l => l.Descriptor), (await kept.VerifyAsync()).Select(l => l.Descriptor));
        (await fixture.First.BuildAsync(context, forced.Exporting("max", $",compression={compression},force-compression=true"))).Succeeded();
        var layers = await forced.VerifyAsync();
        Assert.Equal(6, layers.Count);
        Assert.All(layers, l => Assert.Equal(compression, l.Form));
    }

    [RoundTripTheory]
    [InlineData("gzip", 1, 9)]
    [InlineData("estargz", 1, 9)]
    [InlineData("zstd", 1, 19)]
    public async Task A_higher_level_makes_smaller_layers_in_every_backend(string compression, int low, int high)
    {
        using var temp = new TempDirectory();
        var random = new Random(7);
        var text = string.Join(' ', Enumerable.Range(0, 100_000).Select(_ => $"word{random.Next(3000)}"));
        var small = await SizesAsync(high);
        var large = await SizesAsync(low);
        Assert.All(small.Zip(large), both => Assert.True(both.First.Size < both.Second.Size, $"{both.First} at level {high}, {both.Second} at level {low}"));

        async Task<List<(string Backend, long Size)>> SizesAsync(int level)
        {
            using var context = new ContextDirectory($"FROM scratch\nCOPY text /{Guid.NewGuid():N}\n").Write("text", text);
            var stores = Stores(temp);
            (await fixture.First.BuildAsync(context, [.. stores.SelectMany(s => s.Store.Exporting("max", $",compression={compression},compression-level={level}"))])).Succeeded();
            List<(string, long)> sizes = [];
            foreach (var (backend, store) in stores)
            {
                var layer = Assert.Single(await store.VerifyAsync());
                Assert.Equal(compression, layer.Form);
                sizes.Add((backend, layer.Descriptor.Size));
            }
            return sizes;
        }
    }

    /// <summary>A file of several chunks, links, an empty file, a removed one.</summary>
    [RoundTripFact]
    public async Task An_eStargz_layer_of_every_kind_of_file_is_read_file_by_file()
    {
        using var context = new ContextDirectory($"""
            FROM {fixture.Base}
            RUN mkdir /d && cd /d && head -c 9000000 /dev/urandom > large && ln large hard && ln -s large soft && touch empty && mkdir -m 1777 sub && echo x > sub/ä && chmod 4755 sub/ä && rm /etc/group
            """);
        using var temp = new TempDirectory();
        var store = fixture.NewStore("local", temp);
        (await fixture.First.BuildAsync(context, [.. store.Exporting("max", ",compression=estargz"), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        var layer = Assert.Single(await store.VerifyAsync(), l => l.Form == "estargz");
        var blob = (await store.ReadAsync()).Blobs[layer.Descriptor.Digest];
        var contents = EStargzBlob.Verify(blob).Contents;
        Assert.Equal(
            ["d:dir", "d/empty:reg", "d/hard:reg", "d/hard:chunk", "d/hard:chunk", "d/large:hardlink", "d/soft:symlink", "d/sub:dir", "d/sub/ä:reg", "etc/.wh.group:reg"],
            contents.Select(e => $"{e.GetProperty("name").GetString()!.TrimEnd('/')}:{e.GetProperty("type").GetString()}").Where(e => e.Contains('/', StringComparison.Ordinal) || e == "d:dir"));
        var second = await fixture.EmptySecondAsync();
        Assert.Empty((await second.BuildAsync(context, ["--import-cache", store.Import, .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded().Trace.Executed);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));
    }

    public static TheoryData<string> Backends() => [.. RoundTripFixture.Backends, "inline"];

    [RoundTripTheory]
    [MemberData(nameof(Backends))]
    public async Task An_imported_eStargz_layer_is_passed_on_as_one(string backend)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var (store, next) = (fixture.NewStore(backend, temp), fixture.NewStore("local", temp));
        (await fixture.First.BuildAsync(context, store.Exporting("max", ",compression=estargz,force-compression=true"))).Succeeded();
        var second = await fixture.EmptySecondAsync();
        var passed = (await second.BuildAsync(context, ["--import-cache", store.Import, .. next.Exporting("min", ",compression=estargz")])).Succeeded();
        Assert.Empty(passed.Trace.Executed);
        var (before, after) = (await store.VerifyAsync(), await next.VerifyAsync());
        Assert.Equal(3, after.Count(l => l.Files.Contains("final") || l.Files.Contains("app/random") || l.Files.Contains("bin/busybox")));
        Assert.Subset(before.Select(l => l.Descriptor.Digest).ToHashSet(), after.Select(l => l.Descriptor.Digest).ToHashSet());
    }

    private List<(string Backend, CacheStore Store)> Stores(TempDirectory temp) => [.. RoundTripFixture.Backends.Select(b => (b, fixture.NewStore(b, temp)))];
}
