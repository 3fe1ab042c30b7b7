using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>Caches the reference exported save an empty daemon exactly the steps they save the reference (spec 04 §11).</summary>
public sealed class CacheImportGoldenTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    // Steps of the golden Dockerfile by the record that holds their result (spec 04 §11.1).
    private static readonly (string Step, string Record)[] Steps =
    [
        ("[tools 1/1] COPY w /w", "sha256:d65e8d1d"),
        ("[build 1/3] COPY src/a.txt /in/a.txt", "sha256:2d6bb900"),
        ("[build 2/3] RUN [\"/w\", \"/out1.txt\", \"built-one\"]", "sha256:f2a55ed6"),
        ("[build 3/3] RUN [\"/w\", \"/out2.txt\", \"built-two <&>\"]", "sha256:e0f1f905"),
    ];

    public static TheoryData<string> Caches() => GoldenCache.Cases(GoldenCache.All());

    [EndToEndTheory]
    [MemberData(nameof(Caches))]
    public async Task An_empty_daemon_executes_what_the_reference_would(string path)
    {
        if (GoldenCache.Of(path) is not { } cache)
            return;
        using var context = GoldenCache.Context(cache.Dockerfile);
        using var temp = new TempDirectory();
        var import = await cache.ServeAsync(fixture.Registry, temp);
        await fixture.Client.PruneAllAsync();

        var build = (await fixture.Client.BuildAsync(
            context, ["--import-cache", import, "--output", $"type=local,dest={temp.Path}/out", .. cache.BuildOptions])).Succeeded();
        Assert.Equal(ExpectedSteps(cache).Order(StringComparer.Ordinal), build.Trace.Executed.Order(StringComparer.Ordinal));
        Assert.Contains(build.Trace.Statuses, s => s.StartsWith("inferred cache manifest type: ", StringComparison.Ordinal));

        foreach (var root in cache.IsMultiPlatform ? new[] { $"{temp.Path}/out/linux_amd64", $"{temp.Path}/out/linux_arm64" } : [$"{temp.Path}/out"])
        {
            Assert.Equal(await File.ReadAllTextAsync(context["src/b.txt"]), await File.ReadAllTextAsync($"{root}/b.txt"));
            if (cache.Dockerfile != "Dockerfile")
                continue;
            Assert.Equal("built-one\n", await File.ReadAllTextAsync($"{root}/out1.txt"));
            Assert.Equal("built-two <&>\n", await File.ReadAllTextAsync($"{root}/out2.txt"));
        }
    }

    [EndToEndFact]
    public async Task A_minimal_cache_serves_the_steps_of_the_result_after_a_change()
    {
        if (GoldenCache.All("v0.20.0").FirstOrDefault(c => c.Path.EndsWith("/local-min", StringComparison.Ordinal)) is not { } cache)
            return;
        using var context = GoldenCache.Context(cache.Dockerfile);
        context.Write("Dockerfile", string.Join('\n', (await File.ReadAllLinesAsync(context["Dockerfile"])).Where(l => !l.Contains("--from=build /out2.txt", StringComparison.Ordinal))) + "\n");
        using var temp = new TempDirectory();
        var import = await cache.ServeAsync(fixture.Registry, temp);
        await fixture.Client.PruneAllAsync();
        var build = (await fixture.Client.BuildAsync(context, "--import-cache", import)).Succeeded();
        // As the reference does it: the layers below are looked for once more because the changed step needs its input.
        Assert.Equal(["[stage-2 1/2] COPY --from=build /out1.txt /out1.txt"], build.Trace.Cached);
        Assert.Equal(
            Steps.Select(s => s.Step).Append("[stage-2 2/2] COPY src/b.txt /b.txt").Order(StringComparer.Ordinal), build.Trace.Executed.Order(StringComparer.Ordinal));
    }

    /// <summary>
    /// Nothing for the version whose keys ours are. v0.11 linked RUN steps to their input without a selector, so they are
    /// not found (spec 03 §15); they execute, and with them the steps below whose results the cache does not hold.
    /// </summary>
    private static IEnumerable<string> ExpectedSteps(GoldenCache cache)
    {
        if (!cache.Version.StartsWith("v0.11.", StringComparison.Ordinal) || cache.Dockerfile != "Dockerfile")
            return [];
        var withResult = cache.ReadConfig().Records.Where(r => r.Results.Count > 0).Select(r => r.Digest.ToString()[..15]).ToHashSet(StringComparer.Ordinal);
        return Steps.Where(s => s.Step.Contains("RUN", StringComparison.Ordinal) || !withResult.Contains(s.Record)).Select(s => s.Step);
    }
}
