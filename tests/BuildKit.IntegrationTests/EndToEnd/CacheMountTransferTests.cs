using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Contents of <c>RUN --mount=type=cache</c> travel with a cache to a daemon that has none.</summary>
public sealed class CacheMountTransferTests(ObjectStoreFixture fixture) : IClassFixture<ObjectStoreFixture>
{
    private readonly string _id = Guid.NewGuid().ToString("N");

    private Buildctl First => fixture.Build.Client;

    private Buildctl Second => new(fixture.Second.Address);

    private string Cache(string type, string directory, bool import) => type switch
    {
        "registry" => $"type=registry,ref={fixture.Build.Registry.Host}/mounts-{_id}:v1",
        "registry-image" => $"type=registry,ref={fixture.Build.Registry.Host}/mounts-{_id}:v1" + (import ? "" : ",image-manifest=true"),
        "local" => $"type=local,{(import ? "src" : "dest")}={directory}/cache",
        _ => fixture.Cache(type, _id),
    };

    /// <summary>Adds a line to the mount and shows what is in it; the step's own text makes it run.</summary>
    private ContextDirectory Step(string step) => new($"""
        FROM {fixture.Build.Base}
        RUN --mount=type=cache,id=m-{_id},target=/m --mount=type=cache,id=other-{_id},target=/o echo {step} >> /m/lines && mkdir -p /m/dir && ln -sf ../lines /m/dir/link && echo {step} > /o/file && cat /m/lines > /seen && : {_id}
        """);

    [ObjectStoreTheory]
    [InlineData("registry")]
    [InlineData("registry-image")]
    [InlineData("local")]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task A_new_mount_starts_with_what_the_cache_brought(string type)
    {
        using var temp = new TempDirectory();
        using var one = Step("one");
        var first = (await First.BuildAsync(one, "--export-cache", Cache(type, temp.Path, import: false) + ",cache-mounts=true")).Succeeded();
        Assert.DoesNotContain(first.Trace.Vertices, vertex => vertex.Output.ToString().Contains("left out", StringComparison.Ordinal));
        using var two = Step("two");
        await Second.PruneAllAsync();
        var import = Cache(type, temp.Path, import: true);
        var build = (await Second.BuildAsync(two, "--import-cache", import + ",cache-mounts=true", "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Single(build.Trace.Executed);
        Assert.Equal("one\ntwo\n", await File.ReadAllTextAsync($"{temp.Path}/out/seen"));
        Assert.Contains(build.Trace.Vertices, vertex => vertex.Name.StartsWith("importing cache mount", StringComparison.Ordinal) && vertex.Name.Contains("m-" + _id, StringComparison.Ordinal));

        // One that is there is not touched.
        using var three = Step("three");
        (await Second.BuildAsync(three, "--import-cache", import + ",cache-mounts=true", "--output", $"type=local,dest={temp.Path}/again")).Succeeded();
        Assert.Equal("one\ntwo\nthree\n", await File.ReadAllTextAsync($"{temp.Path}/again/seen"));
    }

    [ObjectStoreFact]
    public async Task Without_the_attribute_or_its_id_a_mount_starts_empty()
    {
        using var temp = new TempDirectory();
        using var one = Step("one");
        var cache = Cache("local", temp.Path, import: true);
        (await First.BuildAsync(one, "--export-cache", Cache("local", temp.Path, import: false) + $",cache-mounts=m-{_id}")).Succeeded();
        Assert.Single((await InspectAsync(cache)).Split('\n'), line => line.Contains("mount=", StringComparison.Ordinal));
        foreach (var (attribute, seen) in new[] { ("", "two\n"), ($",cache-mounts=other-{_id}", "two\n"), (",cache-mounts=false", "two\n"), ($",cache-mounts=none;m-{_id}", "one\ntwo\n") })
        {
            using var two = Step("two");
            await Second.PruneAllAsync();
            (await Second.BuildAsync(two, "--import-cache", cache + attribute, "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
            Assert.Equal(seen, await File.ReadAllTextAsync($"{temp.Path}/out/seen"));
            Directory.Delete($"{temp.Path}/out", recursive: true);
        }
    }

    [ObjectStoreFact]
    public async Task Unchanged_content_is_the_same_layer_and_is_not_sent_again()
    {
        using var temp = new TempDirectory();
        using var one = Step("one");
        var export = Cache("s3", temp.Path, import: false) + ",cache-mounts=true";
        (await First.BuildAsync(one, "--export-cache", export)).Succeeded();
        var before = await MountLayersAsync();
        Assert.Equal(2, before.Count);
        var again = (await First.BuildAsync(one, "--export-cache", export)).Succeeded();
        Assert.Empty(again.Trace.Executed);
        Assert.DoesNotContain(again.Trace.Statuses, status => status.StartsWith("writing layer", StringComparison.Ordinal));
        Assert.Equal(before, await MountLayersAsync());

        // On a daemon where nothing ran, the mounts are passed on from the import.
        await Second.PruneAllAsync();
        var passed = (await Second.BuildAsync(one, "--import-cache", export, "--export-cache", export)).Succeeded();
        Assert.Empty(passed.Trace.Executed);
        Assert.Equal(before, await MountLayersAsync());
        // And where the directory was made from the import, its content is still the same layer, but for what the step added.
        using var two = Step("two");
        (await Second.BuildAsync(two, "--import-cache", export, "--export-cache", export)).Succeeded();
        Assert.Equal(2, (await MountLayersAsync()).Count);

        async Task<List<string>> MountLayersAsync() =>
            [.. (await InspectAsync(Cache("s3", temp.Path, import: true))).Split('\n').Where(line => line.Contains("mount=", StringComparison.Ordinal)).Select(line => line.Split('\t')[0]).Order(StringComparer.Ordinal)];
    }

    [ObjectStoreFact]
    public async Task Mounts_of_several_builds_meet_in_a_shared_cache_and_are_verified_and_copied()
    {
        using var temp = new TempDirectory();
        var export = Cache("registry", temp.Path, import: false);
        using var one = Step("one");
        using var other = new ContextDirectory($"FROM {fixture.Build.Base}\nRUN --mount=type=cache,id=third-{_id},target=/t echo {_id} > /t/file\n");
        (await First.BuildAsync(one, "--export-cache", export + ",cache-mounts=true,merge=true")).Succeeded();
        (await First.BuildAsync(other, "--export-cache", export + ",cache-mounts=true,merge=true")).Succeeded();
        var text = await InspectAsync(export);
        foreach (var id in new[] { "m-", "other-", "third-" })
            Assert.Contains(id + _id, text, StringComparison.Ordinal);
        (await First.RunAsync(["cache", "verify", export])).Succeeded();
        (await First.RunAsync(["cache", "copy", export, $"type=local,src={temp.Path}/copy"])).Succeeded();
        await Second.PruneAllAsync();
        using var two = Step("two");
        (await Second.BuildAsync(two, "--import-cache", $"type=local,src={temp.Path}/copy,cache-mounts=true", "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Equal("one\ntwo\n", await File.ReadAllTextAsync($"{temp.Path}/out/seen"));
    }

    private async Task<string> InspectAsync(string cache) => (await First.RunAsync(["cache", "inspect", cache])).Succeeded().Text;
}
