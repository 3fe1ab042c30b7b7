using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Solver;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>The daemon's key store goes with the results it leads to.</summary>
public sealed class KeyDatabaseTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    [EndToEndFact]
    public async Task Pruning_removes_keys_and_links_and_cached_builds_add_none()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        using var context = new ContextDirectory($"FROM {fixture.Base}\nCOPY a.txt /\nRUN cat /a.txt > /b\nFROM scratch\nCOPY --from=0 /b /\nCOPY a.txt /\n").Write("a.txt", "a");
        (await client.BuildAsync(context)).Succeeded();
        (await client.BuildAsync(context)).Succeeded();
        var full = await CountAsync(daemon);
        Assert.True(full.Links > 0 && full.Results > 0);

        for (var i = 0; i < 3; i++)
            Assert.Empty((await client.BuildAsync(context)).Succeeded().Trace.Executed);
        Assert.Equal(full, await CountAsync(daemon));

        await client.PruneAllAsync();
        Assert.Equal((0, 0, 0), await CountAsync(daemon));
        Assert.Equal(4, (await client.BuildAsync(context)).Succeeded().Trace.Executed.Count);
        (await client.BuildAsync(context)).Succeeded();
        Assert.Equal(full, await CountAsync(daemon));
    }

    /// <summary>Counts while the daemon is stopped: what it queued is stored then.</summary>
    private static async Task<(long Keys, long Links, long Results)> CountAsync(DaemonProcess daemon)
    {
        await daemon.StopAsync();
        (long, long, long) count;
        using (var keys = SqliteKeyStorage.Open(Path.Combine(daemon.Root, "cache.db")))
            count = keys.Count();
        await daemon.StartAgainAsync();
        return count;
    }
}
