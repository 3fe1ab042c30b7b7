using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Attributes of caches that several builds write, and what limits take from them; see <see cref="SharedCacheRoundsTests"/>.</summary>
public sealed class SharedCacheTests(ObjectStoreFixture fixture) : IClassFixture<ObjectStoreFixture>
{
    private readonly string _id = Guid.NewGuid().ToString("N");

    private Buildctl First => fixture.Build.Client;

    private Buildctl Second => new(fixture.Second.Address);

    private ContextDirectory Branch(int branch, int round) => new($"""
        FROM {fixture.Build.Base}
        RUN echo {_id} > /common
        RUN echo {_id}-{branch}-{round} > /branch
        """);

    private (string Export, string Import) Cache(string type, string directory) => type switch
    {
        "registry" => ($"type=registry,ref={fixture.Build.Registry.Host}/shared-{_id}:v1", $"type=registry,ref={fixture.Build.Registry.Host}/shared-{_id}:v1"),
        "local" => ($"type=local,dest={directory}", $"type=local,src={directory}"),
        _ => (fixture.Cache(type, _id), fixture.Cache(type, _id)),
    };

    [ObjectStoreTheory]
    [InlineData("registry")]
    [InlineData("local")]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task What_no_build_exported_for_long_leaves_the_cache(string type)
    {
        using var temp = new TempDirectory();
        var (export, import) = Cache(type, $"{temp.Path}/cache");
        using var old = Branch(0, 0);
        using var young = Branch(1, 0);
        (await First.BuildAsync(old, "--export-cache", export + ",mode=max,merge=true")).Succeeded();
        await Task.Delay(2100); // times of use are whole seconds
        (await First.BuildAsync(young, "--export-cache", export + ",mode=max,merge=true,keep-duration=2s")).Succeeded();
        await Second.PruneAllAsync();
        Assert.Empty((await Second.BuildAsync(young, "--import-cache", import)).Succeeded().Trace.Executed);
        // In the parts of a store without conditions it stays until they are removed.
        if (type == "s3")
            return;
        Assert.Single((await Second.BuildAsync(old, "--import-cache", import)).Succeeded().Trace.Executed);
    }

    [ObjectStoreTheory]
    [InlineData("merge=maybe", "failed to parse merge: strconv.ParseBool: parsing \"maybe\": invalid syntax")]
    [InlineData("keep-duration=72h", "keep-duration and keep-bytes need merge=true: without it every export replaces the cache")]
    [InlineData("merge=true,keep-duration=soon", "failed to parse keep-duration: \"soon\" is no duration above zero, for example 72h")]
    [InlineData("merge=true,keep-bytes=much", "failed to parse keep-bytes: \"much\" is no size above zero, for example 10GB")]
    public async Task Wrong_attributes_fail_before_the_build(string attributes, string error)
    {
        using var context = Branch(0, 0);
        var build = (await First.BuildPlainAsync(context, "--export-cache", $"type=registry,ref={fixture.Build.Registry.Host}/wrong:v1,{attributes}")).Failed();
        Assert.Contains("failed to configure registry cache exporter: " + error, build.Errors, StringComparison.Ordinal);
    }
}
