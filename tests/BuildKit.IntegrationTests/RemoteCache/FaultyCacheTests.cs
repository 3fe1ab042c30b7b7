using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>A remote cache that is broken, slow or half missing costs time, never a build that can go on without it.</summary>
public sealed class FaultyCacheTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    // Short, so that silence is noticed soon; what fails is the patience of the importer, not the test.
    private const string Patience = "timeout=2s";

    private readonly string _id = Guid.NewGuid().ToString("N");

    private string First => "[2/4] RUN echo first > /1";

    private string Second => $"[3/4] RUN echo {_id} > /2";

    private string Third => "[4/4] RUN cat /1 /2 > /3";

    private ContextDirectory Context() => new($"FROM {fixture.Base}\nRUN echo first > /1\nRUN echo {_id} > /2\nRUN cat /1 /2 > /3\n");

    [EndToEndTheory]
    [InlineData(RegistryFault.Missing)]
    [InlineData(RegistryFault.ServerError)]
    [InlineData(RegistryFault.Corrupt)]
    [InlineData(RegistryFault.Truncated)]
    [InlineData(RegistryFault.Silent)]
    [InlineData(RegistryFault.Stalled)]
    public async Task A_layer_that_cannot_be_had_is_made_anew(RegistryFault fault)
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, faulty, temp);
        faulty.Faults[layers[2].ToString()] = fault;

        var build = (await fixture.Client.BuildAsync(
            context, "--import-cache", $"type=registry,ref={cache},{Patience}", "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        // One that is silent is not asked again, not even for what it has.
        Assert.Equal([Second, Third], fault is RegistryFault.Silent or RegistryFault.Stalled ? build.Trace.Executed.Where(s => s != First) : build.Trace.Executed);
        Assert.Equal($"first\n{_id}\n", await File.ReadAllTextAsync($"{temp.Path}/out/3"));
        var warning = Assert.Single(build.Trace.Warnings);
        Assert.StartsWith($"layer {layers[2]} of the cache {cache} cannot be used, steps that need it are executed: ", warning, StringComparison.Ordinal);
    }

    [EndToEndTheory]
    [InlineData("oci")]
    [InlineData("tar")]
    [InlineData("image")]
    public async Task Every_output_gets_what_was_made_anew(string output)
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, faulty, temp);
        faulty.Faults[layers[3].ToString()] = RegistryFault.Missing;
        // Not the registry the layers are in: there they need not be sent.
        await using var other = await DockerRegistry.StartAsync();
        var reference = $"{other.Host}/made-anew:v1";
        var destination = output == "image" ? $"type=image,name={reference},push=true" : $"type={output},dest={temp.Path}/out";
        var build = (await fixture.Client.BuildAsync(context, "--import-cache", $"type=registry,ref={cache},{Patience}", "--output", destination)).Succeeded();
        Assert.Equal([Third], build.Trace.Executed);
        if (output == "image")
            Assert.Equal(4, Manifest.Parse(await other.GetManifestAsync(reference)).Layers.Count);
        else
            Assert.True(new FileInfo($"{temp.Path}/out").Length > 0);
    }

    [EndToEndTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_damaged_directory_costs_only_the_steps_it_held(bool isDeleted)
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (_, layers) = await ExportAsync(context, faulty, temp);
        var blob = $"{temp.Path}/cache/blobs/sha256/{layers[2].Hex}";
        if (isDeleted)
            File.Delete(blob);
        else
            await File.WriteAllBytesAsync(blob, new byte[new FileInfo(blob).Length]);
        var build = (await fixture.Client.BuildAsync(context, "--import-cache", $"type=local,src={temp.Path}/cache", "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Equal([Second, Third], build.Trace.Executed);
        Assert.Equal($"first\n{_id}\n", await File.ReadAllTextAsync($"{temp.Path}/out/3"));
        Assert.StartsWith($"layer {layers[2]} of the cache local:", Assert.Single(build.Trace.Warnings), StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task Without_any_layer_every_step_executes()
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, faulty, temp);
        foreach (var layer in layers.Skip(1))
            faulty.Faults[layer.ToString()] = RegistryFault.Missing;
        var build = (await fixture.Client.BuildAsync(
            context, "--import-cache", $"type=registry,ref={cache},{Patience}", "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Equal([First, Second, Third], build.Trace.Executed);
        Assert.Equal($"first\n{_id}\n", await File.ReadAllTextAsync($"{temp.Path}/out/3"));
    }

    [EndToEndTheory]
    [InlineData(RegistryFault.Missing, "not found")]
    [InlineData(RegistryFault.ServerError, "500")]
    [InlineData(RegistryFault.Corrupt, "")]
    [InlineData(RegistryFault.Silent, "no answer within 2 s")]
    [InlineData(RegistryFault.Stalled, "no answer within 2 s")]
    public async Task A_cache_whose_manifest_cannot_be_read_is_told_and_left_out(RegistryFault fault, string reason)
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, _) = await ExportAsync(context, faulty, temp);
        var manifest = Digest.Sha256(await fixture.Registry.GetManifestAsync(cache.Replace(faulty.Host, fixture.Registry.Host, StringComparison.Ordinal)));
        faulty.Faults[manifest.ToString()] = fault;
        if (fault == RegistryFault.Missing)
            faulty.Faults["v1"] = fault;
        var build = (await fixture.Client.BuildAsync(context, "--import-cache", $"type=registry,ref={cache},{Patience}")).Succeeded();
        Assert.Equal([First, Second, Third], build.Trace.Executed);
        var error = build.Trace.Step($"importing cache manifest from {cache}").Error;
        Assert.StartsWith("failed to configure registry cache importer: ", error, StringComparison.Ordinal);
        Assert.Contains(reason, error, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_second_cache_gives_what_the_first_one_lost()
    {
        await using var first = await FaultyRegistry.StartAsync(fixture.Registry);
        await using var second = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, first, temp);
        first.Faults[layers[2].ToString()] = RegistryFault.Missing;
        var build = (await fixture.Client.BuildAsync(
            context, "--import-cache", $"type=registry,ref={cache},{Patience}",
            "--import-cache", $"type=registry,ref={cache.Replace(first.Host, second.Host, StringComparison.Ordinal)},{Patience}",
            "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Empty(build.Trace.Executed);
        Assert.Equal($"first\n{_id}\n", await File.ReadAllTextAsync($"{temp.Path}/out/3"));
        Assert.Equal(1, second.ReadsOf(layers[2].ToString()));
    }

    [EndToEndFact]
    public async Task Of_equal_caches_the_one_named_first_is_used()
    {
        await using var first = await FaultyRegistry.StartAsync(fixture.Registry);
        await using var second = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, first, temp);
        var other = cache.Replace(first.Host, second.Host, StringComparison.Ordinal);
        foreach (var (earlier, later, user, idle) in new[] { (cache, other, first, second), (other, cache, second, first) })
        {
            await fixture.Client.PruneAllAsync();
            var (used, unused) = (user.ReadsOf(layers[3].ToString()), idle.ReadsOf(layers[3].ToString()));
            var build = (await fixture.Client.BuildAsync(
                context, "--import-cache", $"type=registry,ref={earlier}", "--import-cache", $"type=registry,ref={later}",
                "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
            Assert.Empty(build.Trace.Executed);
            Assert.Equal(used + 1, user.ReadsOf(layers[3].ToString()));
            Assert.Equal(unused, idle.ReadsOf(layers[3].ToString()));
        }
    }

    [EndToEndFact]
    public async Task Layers_nobody_needs_are_not_fetched()
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, faulty, temp);
        (await fixture.Client.BuildAsync(context, "--import-cache", $"type=registry,ref={cache}")).Succeeded();
        Assert.All(layers, layer => Assert.Equal(0, faulty.ReadsOf(layer.ToString())));
    }

    [EndToEndFact]
    public async Task A_cache_that_is_passed_on_leaves_out_what_was_lost()
    {
        await using var faulty = await FaultyRegistry.StartAsync(fixture.Registry);
        using var context = Context();
        using var temp = new TempDirectory();
        var (cache, layers) = await ExportAsync(context, faulty, temp);
        faulty.Faults[layers[3].ToString()] = RegistryFault.Missing;
        (await fixture.Client.BuildAsync(
            context, "--import-cache", $"type=registry,ref={cache},{Patience}", "--export-cache", $"type=local,dest={temp.Path}/again,mode=max")).Succeeded();
        var again = GoldenCache.ReadLayout($"{temp.Path}/again").Config;
        Assert.Equal(GoldenCache.ReadLayout($"{temp.Path}/cache").Config.Records.Select(r => r.Digest), again.Records.Select(r => r.Digest));
        Assert.DoesNotContain(layers[3], again.Layers.Select(l => l.Blob));
        Assert.Contains(layers[2], again.Layers.Select(l => l.Blob));
    }

    /// <summary>Builds, exports everything to the registry behind <paramref name="faulty"/> and to <c>TEMP/cache</c>, and leaves
    /// the daemon empty. The blobs of the result's layers, base first.</summary>
    private async Task<(string Cache, IReadOnlyList<Digest> Layers)> ExportAsync(ContextDirectory context, FaultyRegistry faulty, TempDirectory temp)
    {
        var name = $"cache-{_id}:v1";
        (await fixture.Client.BuildAsync(
            context, "--export-cache", $"type=registry,ref={fixture.Registry.Host}/{name},mode=max", "--export-cache", $"type=local,dest={temp.Path}/cache,mode=max")).Succeeded();
        await fixture.Client.PruneAllAsync();
        var config = GoldenCache.ReadLayout($"{temp.Path}/cache").Config;
        List<Digest> ChainOf(int layer) => layer < 0 ? [] : [.. ChainOf(config.Layers[layer].Parent), config.Layers[layer].Blob];
        var chain = config.Records.SelectMany(r => r.Results).Select(r => ChainOf(r.Layer)).MaxBy(c => c.Count)!;
        Assert.Equal(4, chain.Count);
        return ($"{faulty.Host}/{name}", chain);
    }
}
