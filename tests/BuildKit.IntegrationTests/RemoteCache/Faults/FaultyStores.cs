using System.Security.Cryptography;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.RemoteCache.Faults;

/// <summary>One daemon and every kind of store, each behind a proxy of its own.</summary>
public sealed class FaultyStores : IAsyncLifetime
{
    internal static readonly string[] Needs = [.. BuildFixture.Needs, "node", "azurite-blob", "s3rver"];

    private readonly List<IAsyncDisposable> _parts = [];
    private readonly TempDirectory _temp = new();

    /// <summary>The daemon; it does not wait long before it repeats a failed request.</summary>
    public DaemonProcess Daemon { get; private set; } = null!;

    /// <summary>The kinds of stores.</summary>
    public IReadOnlyList<FaultyStore> All { get; private set; } = [];

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(Needs) is not null)
            return; // every test of the class is skipped for the same reason
        var registry = Own(await DockerRegistry.StartAsync(DockerRegistryAuth.Token));
        var (s3, azure, actions) = (Own(await ObjectStore.StartS3Async()), Own(await ObjectStore.StartAzureAsync()), Own(await ActionsService.StartAsync()));
        var registryProxy = await ProxyAsync(registry.Host);
        var dockerConfig = _temp.Sub("docker");
        await File.WriteAllTextAsync(
            $"{dockerConfig}/config.json",
            "{\"auths\":{\"" + registryProxy.Host + "\":{\"auth\":\"" + Convert.ToBase64String(System.Text.Encoding.ASCII.GetBytes($"{DockerRegistry.User}:{DockerRegistry.Password}")) + "\"}}}");
        var bucket = new FaultyBucket(await ProxyAsync(s3.Host), $"{_temp.Path}/credentials");
        bucket.NewSession();
        All =
        [
            new FaultyTokenRegistry(registryProxy, registry, dockerConfig), bucket, new FaultyContainer(await ProxyAsync(azure.Host)),
            new FaultyActions(await ProxyAsync(actions.Host), actions, 1), new FaultyActions(await ProxyAsync(actions.Host), actions, 2),
        ];
        Daemon = Own(await DaemonProcess.StartAsync(environment: new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["BUILDKIT_RETRY_DELAY"] = "20ms",
            ["AWS_SHARED_CREDENTIALS_FILE"] = $"{_temp.Path}/credentials",
            ["AWS_CONFIG_FILE"] = $"{_temp.Path}/none",
            ["AWS_EC2_METADATA_DISABLED"] = "true",
            ["AWS_ACCESS_KEY_ID"] = null,
            ["AWS_SECRET_ACCESS_KEY"] = null,
            ["AWS_PROFILE"] = null,
        }));
    }

    public async Task DisposeAsync()
    {
        foreach (var part in Enumerable.Reverse(_parts))
            await part.DisposeAsync();
        _temp.Dispose();
    }

    /// <summary>A client for builds with a store.</summary>
    public Buildctl Client(FaultyStore store) => new(Daemon.Address, store.Environment);

    /// <summary>The daemon forgets everything.</summary>
    public Task PruneAsync() => new Buildctl(Daemon.Address).PruneAllAsync();

    /// <summary>Does something with every store at once, and tells of all for which it fails.</summary>
    public async Task ForEachAsync(Func<FaultyStore, Task> cell)
    {
        var cells = All.Select(store => (store, Task: cell(store))).ToList();
        await Task.WhenAll(cells.Select(c => c.Task)).ContinueWith(static _ => { }, TaskScheduler.Default);
        var failed = cells.Where(c => !c.Task.IsCompletedSuccessfully).Select(c => $"{c.store}: {c.Task.Exception?.GetBaseException().ToString() ?? "cancelled"}").ToList();
        Assert.True(failed.Count == 0, string.Join("\n\n", failed));
    }

    private T Own<T>(T part) where T : IAsyncDisposable
    {
        _parts.Add(part);
        return part;
    }

    private async Task<FaultProxy> ProxyAsync(string behind) => Own(await FaultProxy.StartAsync(behind));
}

/// <summary>A theory of which each case is a fault that is done to every kind of store.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class FaultTheoryAttribute : TheoryAttribute
{
    public FaultTheoryAttribute() => Skip = Requirement.Missing(FaultyStores.Needs);
}

/// <summary>As <see cref="FaultTheoryAttribute"/>, for a single fault.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class FaultFactAttribute : FactAttribute
{
    public FaultFactAttribute() => Skip = Requirement.Missing(FaultyStores.Needs);
}

/// <summary>Two steps, the second with a layer that is worth breaking; nothing like it was built before.</summary>
public sealed class FaultyBuild : IDisposable
{
    /// <summary>Size of the second step's file in bytes; it does not compress.</summary>
    public const int Size = 200_000;

    /// <summary>The step whose layer is broken.</summary>
    public const string BrokenStep = "[2/2] COPY big /big";

    private readonly TempDirectory _output = new();

    public FaultyBuild() => Context = new ContextDirectory("FROM scratch\nCOPY small /small\nCOPY big /big\n")
        .Write("small", Guid.NewGuid().ToString("N")).Write("big", RandomNumberGenerator.GetBytes(Size));

    /// <summary>Its context.</summary>
    public ContextDirectory Context { get; }

    /// <summary>Hex digits of the large layer's digest, once the build was exported.</summary>
    public string Layer { get; private set; } = "";

    /// <summary>Builds and exports, also to a directory that tells the digests of the layers.</summary>
    public async Task ExportAsync(Buildctl client, string cache)
    {
        (await client.BuildAsync(Context, "--export-cache", $"{cache},mode=max", "--export-cache", $"type=local,dest={_output.Path}/cache,mode=max")).Succeeded();
        Layer = new DirectoryInfo($"{_output.Path}/cache/blobs/sha256").EnumerateFiles().MaxBy(file => file.Length)!.Name;
    }

    /// <summary>Builds with an import; the result must be what a build without a cache gives, bit for bit.</summary>
    public async Task<BuildTrace> ImportAsync(Buildctl client, string cache)
    {
        var output = Path.Combine(_output.Path, Path.GetRandomFileName());
        var build = (await client.BuildAsync(Context, "--import-cache", cache, "--output", $"type=local,dest={output}")).Succeeded();
        Assert.Equal(["big", "small"], Directory.EnumerateFileSystemEntries(output).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        foreach (var file in new[] { "big", "small" })
            Assert.Equal(await File.ReadAllBytesAsync(Context[file]), await File.ReadAllBytesAsync(Path.Combine(output, file)));
        return build.Trace;
    }

    /// <summary>Everything came from the cache, and nobody was bothered.</summary>
    public static void AssertHit(BuildTrace trace)
    {
        Assert.True(trace.Executed.Count == 0, string.Join('\n', trace.Vertices.Select(vertex => $"{vertex} {vertex.Error}").Concat(trace.Warnings).Concat(trace.Statuses)));
        Assert.Empty(trace.Warnings);
    }

    /// <summary>Builds again: the daemon answers and has all.</summary>
    public async Task AgainAsync(Buildctl client) => Assert.Empty((await client.BuildAsync(Context)).Succeeded().Trace.Executed);

    public void Dispose()
    {
        Context.Dispose();
        _output.Dispose();
    }
}
