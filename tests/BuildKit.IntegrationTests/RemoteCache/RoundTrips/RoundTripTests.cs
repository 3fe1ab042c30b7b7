using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>Every backend in every mode and compression: what one daemon exports saves an empty one every step, and what lies in
/// between is what was asked for.</summary>
[Collection(RoundTripCollection.Name)]
public sealed class RoundTripTests(RoundTripFixture fixture)
{
    // A file that only one of the layers has, by where that layer comes from.
    private static readonly string[] OfResult = ["bin/busybox", "final", "app/random"];
    private static readonly string[] OfFirstStage = ["src/source.txt", "result.txt", "random"];

    public static TheoryData<string, string, string> Servers() => Cases("registry", "registry basic", "registry token", "local", "gha v1", "gha v2");

    public static TheoryData<string, string, string> ObjectStores() => Cases(RoundTripFixture.ObjectStores);

    public static TheoryData<string> Compressions() => [.. RoundTripFixture.Compressions];

    [RoundTripTheory]
    [MemberData(nameof(Servers))]
    public Task An_empty_daemon_executes_nothing(string backend, string mode, string compression) => RoundTripAsync(backend, mode, compression);

    [RoundTripTheory("node", "azurite-blob", "s3rver")]
    [MemberData(nameof(ObjectStores))]
    public Task An_empty_daemon_executes_nothing_with_an_object_store(string backend, string mode, string compression) => RoundTripAsync(backend, mode, compression);

    /// <summary>It knows one mode: what the image has.</summary>
    [RoundTripTheory]
    [MemberData(nameof(Compressions))]
    public Task An_empty_daemon_executes_nothing_with_the_cache_inside_an_image(string compression) => RoundTripAsync("inline", "min", compression);

    private async Task RoundTripAsync(string backend, string mode, string compression)
    {
        using var context = fixture.Context();
        using var temp = new TempDirectory();
        var store = fixture.NewStore(backend, temp);
        var export = (await fixture.First.BuildAsync(
            context, [.. store.Exporting(mode, $",compression={compression}"), .. RoundTripFixture.TarTo($"{temp.Path}/first.tar")])).Succeeded();
        Assert.Equal(5, export.Trace.Executed.Count);

        var layers = await store.VerifyAsync();
        Assert.Equal(
            (mode == "max" ? OfResult.Concat(OfFirstStage) : OfResult).Order(StringComparer.Ordinal),
            layers.SelectMany(l => l.Files).Where(f => OfResult.Contains(f) || OfFirstStage.Contains(f)).Order(StringComparer.Ordinal));
        Assert.Equal(mode == "max" ? 6 : 3, layers.Count);
        // New layers have the form that was asked for; the base image's stays as it was pulled.
        Assert.All(layers, l => Assert.Equal(l.Descriptor.Digest == fixture.BaseLayer ? "gzip" : compression, l.Form));
        Assert.Single(layers, l => l.Descriptor.Digest == fixture.BaseLayer);

        var second = await fixture.EmptySecondAsync();
        var import = (await second.BuildAsync(context, ["--import-cache", store.Import, .. RoundTripFixture.TarTo($"{temp.Path}/second.tar")])).Succeeded();
        Assert.Empty(import.Trace.Executed);
        Assert.Empty(import.Trace.Warnings);
        Assert.Equal(5, import.Trace.Cached.Count);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first.tar"), await File.ReadAllBytesAsync($"{temp.Path}/second.tar"));

        // The first stage alone is in a cache of every step only.
        var stage = (await second.BuildAsync(context, "--import-cache", store.Import, "--opt", "target=build")).Succeeded();
        Assert.Equal(mode == "max" ? 0 : 3, stage.Trace.Executed.Count);
    }

    private static TheoryData<string, string, string> Cases(params string[] backends)
    {
        var cases = new TheoryData<string, string, string>();
        foreach (var backend in backends)
        {
            foreach (var mode in new[] { "min", "max" })
            {
                foreach (var compression in RoundTripFixture.Compressions)
                    cases.Add(backend, mode, compression);
            }
        }
        return cases;
    }
}
