using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>Layers that a registry has in another repository are not sent to it again.</summary>
public sealed class RegistryCacheMountTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    [EndToEndFact]
    public async Task A_cache_takes_layers_from_other_repositories_of_its_registry()
    {
        await using var proxy = await FaultProxy.StartAsync(fixture.Registry.Host);
        var id = Guid.NewGuid().ToString("N")[..12];
        using var context = new ContextDirectory($"FROM {proxy.Host}/base:latest\nRUN echo {id} > /id\n");
        // The base comes from one repository, the step's layer goes to a second one, the cache into a third.
        (await fixture.Client.BuildAsync(
            context, "--output", $"type=image,name={proxy.Host}/app-{id}:v1,push=true", "--export-cache", $"type=registry,ref={proxy.Host}/cache-{id}:v1,mode=max")).Succeeded();
        var mounts = Mounts(proxy, $"cache-{id}");
        Assert.Contains($"/v2/cache-{id}/blobs/uploads/?mount={fixture.BaseLayer}&from=", mounts.Select(m => m[..(m.LastIndexOf('=') + 1)]));
        Assert.Contains(mounts, mount => mount.EndsWith($"&from=app-{id}", StringComparison.Ordinal) && !mount.Contains(fixture.BaseLayer.ToString(), StringComparison.Ordinal));
        // Only the config of the cache is sent.
        Assert.Single(proxy.Requests, r => r.Method == "PUT" && r.Target.StartsWith($"/v2/cache-{id}/blobs/uploads/", StringComparison.Ordinal));

        // An empty daemon that knows them only from the cache passes them on without having had them.
        await fixture.Client.PruneAllAsync();
        proxy.Reset();
        (await fixture.Client.BuildAsync(
            context, "--import-cache", $"type=registry,ref={proxy.Host}/cache-{id}:v1", "--export-cache", $"type=registry,ref={proxy.Host}/copy-{id}:v1,mode=max")).Succeeded();
        Assert.Equal(2, Mounts(proxy, $"copy-{id}").Count);
        Assert.DoesNotContain(proxy.Requests, r => r.Method == "GET" && r.Target.StartsWith($"/v2/cache-{id}/blobs/", StringComparison.Ordinal) && r.Answered > 10_000);
        (await new Buildctl("unix:///nonexistent").RunAsync(["cache", "verify", $"type=registry,ref={proxy.Host}/copy-{id}:v1"])).Succeeded();
    }

    private static List<string> Mounts(FaultProxy proxy, string repository) =>
        [.. proxy.Requests.Where(r => r.Method == "POST" && r.Target.StartsWith($"/v2/{repository}/blobs/uploads/?mount=", StringComparison.Ordinal)).Select(r => r.Target).Distinct()];
}
