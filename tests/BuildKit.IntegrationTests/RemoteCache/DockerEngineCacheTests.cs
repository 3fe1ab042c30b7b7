using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache;

/// <summary>
/// Inline caches travel between our daemon and the BuildKit inside Docker 20.10, which is some twelve versions older. Sources
/// and COPY have the same keys on both sides. RUN has not: the older one links it to its input without a selector, so neither
/// finds the other's RUN (spec 03 §15), nor anything that lies on it.
/// </summary>
public sealed class DockerEngineCacheTests(BuildFixture fixture) : IClassFixture<BuildFixture>
{
    private static readonly string[] Network = ["--allow", "network.host", "--opt", "force-network-mode=host"];

    private static readonly string[] Found = ["[2/5] COPY one.txt /one.txt", "[3/5] COPY two.txt /two.txt"];

    private static readonly string[] NotFound = ["[4/5] RUN cat /one.txt /two.txt > /both", "[5/5] COPY three.txt /three.txt"];

    private ContextDirectory Context() => new ContextDirectory(
            $"FROM {fixture.Base}\nCOPY one.txt /one.txt\nCOPY two.txt /two.txt\nRUN cat /one.txt /two.txt > /both\nCOPY three.txt /three.txt\n")
        .Write("one.txt", Guid.NewGuid().ToString("N")).Write("two.txt", "2").Write("three.txt", "3");

    [EndToEndFact("dockerd")]
    public async Task Each_side_uses_the_other_s_inline_cache_up_to_the_first_run()
    {
        await using var engine = await DockerEngine.StartAsync();
        await using var daemon = await DaemonProcess.StartAsync(configuration: "insecure-entitlements = [\"network.host\"]\n");
        var (ours, theirs) = (new Buildctl(daemon.Address), new Buildctl(engine.Address));

        using (var context = Context())
        {
            var reference = $"{fixture.Registry.Host}/of-ours:v1";
            (await ours.BuildAsync(context, [.. Network, "--export-cache", "type=inline", "--output", $"type=image,name={reference},push=true"])).Succeeded();
            var build = (await theirs.BuildAsync(context, [.. Network, "--import-cache", $"type=registry,ref={reference}"])).Succeeded();
            Check(build, reference);
        }
        using (var context = Context())
        {
            var reference = $"{fixture.Registry.Host}/of-docker:v1";
            (await theirs.BuildAsync(context, [.. Network, "--export-cache", "type=inline", "--output", $"type=moby,name={reference}"])).Succeeded();
            await engine.PushAsync(reference);
            using var temp = new TempDirectory();
            var build = (await ours.BuildAsync(
                context, [.. Network, "--import-cache", $"type=registry,ref={reference}", "--output", $"type=local,dest={temp.Path}/out"])).Succeeded();
            Check(build, reference);
            Assert.Equal(await File.ReadAllTextAsync(context["one.txt"]) + "2", await File.ReadAllTextAsync($"{temp.Path}/out/both"));
        }
    }

    private static void Check(BuildResult build, string reference)
    {
        Assert.Equal("", build.Trace.Step($"importing cache manifest from {reference}").Error);
        Assert.Equal(Found, build.Trace.Cached.Order(StringComparer.Ordinal));
        Assert.Equal(NotFound, build.Trace.Executed.Order(StringComparer.Ordinal));
    }
}
