using System.Text;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Four daemons that write, one that reads and one that dies, and a store of every kind between them.</summary>
public sealed class SharedCacheFixture : IAsyncLifetime
{
    public DockerRegistry Registry { get; private set; } = null!;

    public ObjectStore S3 { get; private set; } = null!;

    public ObjectStore Azure { get; private set; } = null!;

    public ActionsService Actions { get; private set; } = null!;

    public IReadOnlyList<DaemonProcess> Writers { get; private set; } = [];

    public DaemonProcess Reader { get; private set; } = null!;

    public DaemonProcess Victim { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(ObjectStoreFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        Registry = await DockerRegistry.StartAsync();
        (S3, Azure, Actions) = (await ObjectStore.StartS3Async(), await ObjectStore.StartAzureAsync(), await ActionsService.StartAsync());
        var daemons = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => DaemonProcess.StartAsync()));
        (Writers, Reader, Victim) = (daemons[..4], daemons[4], daemons[5]);
    }

    public async Task DisposeAsync()
    {
        foreach (var part in (IReadOnlyList<IAsyncDisposable?>)[.. Writers, Reader, Victim, Registry, S3, Azure, Actions])
        {
            if (part is not null)
                await part.DisposeAsync();
        }
    }
}

/// <summary>Many writers, four daemons, one cache: with <c>merge=true</c> nobody's part is lost, and who reads meanwhile finds a whole
/// cache.</summary>
public sealed class SharedCacheRoundsTests(SharedCacheFixture fixture) : IClassFixture<SharedCacheFixture>, IDisposable
{
    private const int Branches = 8;
    private const int Rounds = 20;

    private readonly string _id = Guid.NewGuid().ToString("N");
    private readonly TempDirectory _temp = new();
    private readonly ContextDirectory _all = new();

    public void Dispose()
    {
        _temp.Dispose();
        _all.Dispose();
    }

    private static string Name(int branch, int round) => $"r{round}b{branch}";

    /// <summary>A branch: one step that all have, one that it shares with a branch built by another daemon in the same round, one of its
    /// own. The files lie below the directory with all branches too.</summary>
    private ContextDirectory Branch(string name, string shared)
    {
        var context = new ContextDirectory("FROM scratch\nCOPY common /\nCOPY shared /\nCOPY own /\n");
        foreach (var (file, text) in new[] { ("common", _id), ("shared", $"{_id} {shared}"), ("own", $"{_id} {name}") })
        {
            context.Write(file, text);
            _all.Write($"{name}/{file}", text);
        }
        return context;
    }

    private ContextDirectory Branch(int branch, int round) => Branch(Name(branch, round), $"{round} {branch % 4}");

    private (string Export, string Import) Cache(string type)
    {
        var actions = type == "gha" ? $"url_v2=http://{fixture.Actions.Host}/,scope={_id},token={fixture.Actions.IssueToken(("refs/heads/main", 3))}" : "";
        return type switch
        {
            "registry" => ($"ref={fixture.Registry.Host}/shared-{_id}:v1", $"ref={fixture.Registry.Host}/shared-{_id}:v1"),
            "local" => ($"dest={_temp.Path}/cache", $"src={_temp.Path}/cache"),
            "s3" => Same($"endpoint_url=http://{fixture.S3.Host},use_path_style=true,bucket=bkt,region=us-east-1,access_key_id=S3RVER,secret_access_key=S3RVER,prefix={_id}/"),
            "azblob" => Same($"account_url=http://{fixture.Azure.Host}/{ObjectStore.AzureAccount},account_name={ObjectStore.AzureAccount},secret_access_key={ObjectStore.AzureKey},prefix={_id}"),
            _ => Same(actions),
        };

        static (string, string) Same(string attributes) => (attributes, attributes);
    }

    [ObjectStoreTheory]
    [InlineData("local")]
    [InlineData("registry")]
    [InlineData("s3")]
    [InlineData("azblob")]
    [InlineData("gha")]
    public async Task Eight_concurrent_exporters_lose_nothing_in_twenty_rounds(string type)
    {
        var (export, import) = Cache(type);
        (export, import) = ($"type={type},{export},mode=max,merge=true", $"type={type},{import}");
        var reader = new Buildctl(fixture.Reader.Address);
        for (var round = 0; round < Rounds; round++)
        {
            List<Task> builds = [.. Enumerable.Range(0, Branches).Select(branch => ExportAsync(branch, round, export))];
            if (round > 0)
                builds.Add(ReadAsync(reader, round % Branches, round - 1, import));
            if (round % 6 == 2)
                builds.Add(DieAsync(round, export, round switch { 2 => "exporting ", 8 => "writing layer", _ => "writing config" }));
            await Task.WhenAll(builds);
        }

        if (type != "gha")
            (await reader.RunAsync(["cache", "verify", import])).Succeeded();
        await reader.PruneAllAsync();
        await Task.WhenAll(Enumerable.Range(0, Branches).Select(branch => ReadAsync(reader, branch, Rounds - 1, import)));
        await reader.PruneAllAsync();
        // And all that were ever exported, as stages of one build that reads each one's bytes.
        var text = new StringBuilder();
        foreach (var name in Names())
            text.AppendLine($"FROM scratch AS {name}\nCOPY {name}/common /\nCOPY {name}/shared /\nCOPY {name}/own /");
        text.AppendLine("FROM scratch");
        foreach (var name in Names())
            text.AppendLine($"COPY --from={name} /own /{name}");
        _all.Write("Dockerfile", text.ToString());
        var everything = (await reader.BuildAsync(_all, "--import-cache", import, "--output", $"type=local,dest={_temp.Path}/all")).Succeeded();
        Assert.Empty(everything.Trace.Executed.Where(step => !step.Contains("--from=", StringComparison.Ordinal)));
        Assert.Equal(3 * Rounds * Branches, everything.Trace.Cached.Count);
        Assert.All(Names(), name => Assert.Equal($"{_id} {name}", File.ReadAllText($"{_temp.Path}/all/{name}")));
    }

    private static IEnumerable<string> Names() => Enumerable.Range(0, Rounds).SelectMany(round => Enumerable.Range(0, Branches).Select(branch => Name(branch, round)));

    private async Task ExportAsync(int branch, int round, string export)
    {
        using var context = Branch(branch, round);
        var client = new Buildctl(fixture.Writers[branch / 2].Address);
        (await client.BuildAsync(context, "--export-cache", export + (branch == 7 ? ",keep-bytes=1GB" : ""))).Succeeded();
    }

    private async Task ReadAsync(Buildctl reader, int branch, int round, string import)
    {
        using var context = Branch(branch, round);
        var build = (await reader.BuildAsync(context, "--import-cache", import, "--output", "type=oci,dest=/dev/null")).Succeeded();
        Assert.Empty(build.Trace.Executed);
        Assert.Empty(build.Trace.Warnings);
        Assert.All(build.Trace.Vertices, step => Assert.Equal("", step.Error));
    }

    /// <summary>A daemon that is killed in the middle of its export, and started again for the next time.</summary>
    private async Task DieAsync(int round, string export, string at)
    {
        using var context = Branch("dead" + round, "dead");
        await using (var build = new Buildctl(fixture.Victim.Address).Start(context, "--export-cache", export))
        {
            await build.WaitForAsync(at);
            await fixture.Victim.KillAsync();
        }
        await fixture.Victim.StartAgainAsync();
    }
}
