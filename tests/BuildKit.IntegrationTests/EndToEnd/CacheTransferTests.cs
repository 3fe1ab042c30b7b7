using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Caches that are gone, missing or cannot be written; the round trips are in <c>RemoteCache/RoundTrips</c>.</summary>
public sealed class CacheTransferTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private ContextDirectory Context() => new ContextDirectory($"""
        FROM {fixture.Base} AS build
        COPY source.txt /src/
        RUN tr a-z A-Z < /src/source.txt > /result.txt
        RUN od -An -N8 -tx1 /dev/urandom > /random
        FROM {fixture.Base}
        RUN echo {Guid.NewGuid():N} > /final
        COPY --from=build /result.txt /random /app/
        """).Write("source.txt", Guid.NewGuid().ToString("N"));

    [EndToEndFact]
    public async Task What_was_imported_goes_on_working_after_the_source_is_gone()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        (await fixture.Client.BuildAsync(context, "--export-cache", $"type=local,dest={temp.Path}/cache,mode=max")).Succeeded();
        await using var second = await DaemonProcess.StartAsync();
        var client = new Buildctl(second.Address);
        (await client.BuildAsync(context, "--import-cache", $"type=local,src={temp.Path}/cache", "--output", $"type=local,dest={temp.Path}/1")).Succeeded();
        Directory.Delete($"{temp.Path}/cache", recursive: true);
        var offline = (await client.BuildAsync(context, "--output", $"type=local,dest={temp.Path}/2")).Succeeded();
        Assert.Empty(offline.Trace.Executed);
        Assert.Equal(await File.ReadAllTextAsync($"{temp.Path}/1/app/random"), await File.ReadAllTextAsync($"{temp.Path}/2/app/random"));
    }

    [EndToEndFact]
    public async Task A_missing_registry_cache_is_told_and_the_build_goes_on()
    {
        using var context = Context();
        var reference = $"{fixture.Registry.Host}/nothing-here:v1";
        var build = (await fixture.Client.BuildPlainAsync(context, "--import-cache", $"type=registry,ref={reference}")).Succeeded();
        Assert.Contains($"importing cache manifest from {reference}", build.Errors, StringComparison.Ordinal);
        Assert.Contains($"ERROR: failed to configure registry cache importer: {reference}: not found", build.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_missing_local_cache_is_a_warning_and_the_build_goes_on()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var build = (await fixture.Client.BuildPlainAsync(context, "--import-cache", $"type=local,src={temp.Path}/none")).Succeeded();
        Assert.Contains($"level=warning msg=\"local cache import at {temp.Path}/none not found", build.Errors, StringComparison.Ordinal);
    }

    [EndToEndFact]
    public async Task A_cache_export_that_fails_fails_the_build_unless_told_otherwise()
    {
        using var context = Context();
        var failed = (await fixture.Client.BuildPlainAsync(context, "--export-cache", "type=registry,ref=127.0.0.1:1/cache:v1")).Failed();
        Assert.Contains("error: failed to solve: ", failed.Errors, StringComparison.Ordinal);
        Assert.Contains("127.0.0.1:1", failed.Errors, StringComparison.Ordinal);
        (await fixture.Client.BuildPlainAsync(context, "--export-cache", "type=registry,ref=127.0.0.1:1/cache:v1,ignore-error=true")).Succeeded();
    }
}
