using System.Globalization;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>The daemon's memory does not grow with the layers it sends and fetches.</summary>
public sealed class LargeLayerTests(ObjectStoreFixture fixture) : IClassFixture<ObjectStoreFixture>
{
    private const int Megabytes = 300;

    [ObjectStoreFact]
    public async Task A_layer_larger_than_the_daemons_memory_goes_through_registry_and_object_stores()
    {
        await using var daemon = await DaemonProcess.StartAsync();
        var client = new Buildctl(daemon.Address);
        var place = "large-" + Guid.NewGuid().ToString("N")[..12];
        using var context = new ContextDirectory($"FROM {fixture.Build.Base}\nRUN echo {place} > /big && dd if=/dev/zero of=/big bs=1M seek=1 count={Megabytes} conv=notrunc\n");
        string[] caches =
        [
            $"type=registry,ref={fixture.Build.Registry.Host}/{place}:v1", fixture.Cache("s3", place), fixture.Cache("azblob", place),
        ];
        // The unpacked bytes are what is stored and sent: compressed zeros would be nothing.
        const string Plain = ",compression=uncompressed";
        (await client.BuildAsync(context)).Succeeded();
        ResetPeak(daemon);
        var before = PeakBytes(daemon);
        foreach (var cache in caches)
        {
            (await client.BuildAsync(context, "--export-cache", cache + Plain)).Succeeded();
            AssertBounded(before, daemon, "export " + cache);
        }
        foreach (var cache in caches)
        {
            await client.PruneAllAsync();
            Assert.Empty((await client.BuildAsync(context, "--import-cache", cache, "--output", "type=image,name=unpacked,unpack=true")).Succeeded().Trace.Executed);
            AssertBounded(before, daemon, "import " + cache);
        }
    }

    // Half of the layer: what is held at once is 64 MiB of parts at most.
    private static void AssertBounded(long before, DaemonProcess daemon, string what)
    {
        var grown = PeakBytes(daemon) - before;
        Assert.True(grown < Megabytes / 2 * 1_000_000L, string.Create(CultureInfo.InvariantCulture, $"{what}: the daemon grew by {grown / 1_000_000} MB"));
    }

    private static void ResetPeak(DaemonProcess daemon) => File.WriteAllText($"/proc/{daemon.Id}/clear_refs", "5");

    private static long PeakBytes(DaemonProcess daemon) => 1024 * long.Parse(
        File.ReadLines($"/proc/{daemon.Id}/status").First(line => line.StartsWith("VmHWM:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1].Split('\t')[^1],
        CultureInfo.InvariantCulture);
}
