using System.Text;
using BuildKit.IntegrationTests.EndToEnd;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.RemoteCache.RoundTrips;

/// <summary>The tests that share one <see cref="RoundTripFixture"/>, one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class RoundTripCollection : ICollectionFixture<RoundTripFixture>
{
    public const string Name = "cache round trips";
}

/// <summary>A daemon that exports, one that imports and is emptied before each import, and a server of every kind between them.</summary>
public sealed class RoundTripFixture : IAsyncLifetime
{
    internal static readonly string[] Needs = [.. BuildFixture.Needs, "htpasswd", "zstd"];
    internal static readonly string[] ObjectStoreNeeds = [.. Needs, "node", "azurite-blob", "s3rver"];

    private readonly BuildFixture _build = new();
    private readonly TempDirectory _temp = new();
    private DockerRegistry? _basic;
    private DockerRegistry? _token;
    private ActionsService? _service;
    private ObjectStore? _s3;
    private ObjectStore? _azure;
    private DaemonProcess? _second;
    private Buildctl? _importer;
    private int _stores;

    /// <summary>Client of the daemon that exports, with credentials for the registries that ask for them.</summary>
    public Buildctl First { get; private set; } = null!;

    /// <summary>The open registry, where the base images are.</summary>
    public DockerRegistry Registry => _build.Registry;

    /// <summary>The registry that hands out tokens.</summary>
    public DockerRegistry TokenRegistry => _token!;

    /// <summary>Name of the base image, whose only layer is gzip.</summary>
    public string Base => _build.Base;

    /// <summary>Digest of that layer.</summary>
    public Digest BaseLayer => _build.BaseLayer;

    /// <summary>Name of a base image whose only layer is zstd.</summary>
    public string ZstdBase => $"{Registry.Host}/base-zstd:latest";

    /// <summary>A daemon address for clients with other credentials.</summary>
    public string FirstAddress => _build.Daemon.Address;

    /// <summary>Kinds of stores whose caches are stored as such, on this machine.</summary>
    internal static IReadOnlyList<string> Backends =>
        ["registry", "registry basic", "registry token", "local", "gha v1", "gha v2", .. Requirement.Missing(ObjectStoreNeeds) is null ? ObjectStores : []];

    internal static readonly string[] ObjectStores = ["s3", "azblob"];

    internal static readonly string[] Compressions = ["uncompressed", "gzip", "estargz", "zstd"];

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(Needs) is not null)
            return; // every test of the collection is skipped for the same reason
        await Task.WhenAll(
            _build.InitializeAsync(),
            Task.Run(async () => _second = await DaemonProcess.StartAsync()),
            Task.Run(async () => _basic = await DockerRegistry.StartAsync(DockerRegistryAuth.Basic)),
            Task.Run(async () => _token = await DockerRegistry.StartAsync(DockerRegistryAuth.Token)),
            Task.Run(async () => _service = await ActionsService.StartAsync()),
            Task.Run(async () => _s3 = Requirement.Missing(ObjectStoreNeeds) is null ? await ObjectStore.StartS3Async() : null),
            Task.Run(async () => _azure = Requirement.Missing(ObjectStoreNeeds) is null ? await ObjectStore.StartAzureAsync() : null));
        var known = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{DockerRegistry.User}:{DockerRegistry.Password}"));
        var auths = string.Join(',', new[] { _basic!, _token! }.Select(r => $"\"{r.Host}\":{{\"auth\":\"{known}\"}}"));
        await File.WriteAllTextAsync(Path.Combine(_temp.Path, "config.json"), $"{{\"auths\":{{{auths}}}}}");
        var environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["DOCKER_CONFIG"] = _temp.Path };
        First = new Buildctl(_build.Daemon.Address, environment);
        _importer = new Buildctl(_second!.Address, environment);
        var tar = await BaseImage.TarAsync();
        await BaseImage.PushAsync(Registry, "base-zstd:latest", tar, zstd: (await Programs.RunAsync("zstd", ["-cq"], input: tar)).Succeeded().Output);
    }

    public async Task DisposeAsync()
    {
        foreach (var part in new IAsyncDisposable?[] { _second, _azure, _s3, _service, _token, _basic })
        {
            if (part is not null)
                await part.DisposeAsync();
        }
        await _build.DisposeAsync();
        _temp.Dispose();
    }

    /// <summary>Client of the daemon that imports, which has nothing now.</summary>
    public async Task<Buildctl> EmptySecondAsync()
    {
        await _importer!.PruneAllAsync();
        return _importer;
    }

    /// <summary>An empty place for one cache.</summary>
    internal CacheStore NewStore(string backend, TempDirectory temp)
    {
        var name = $"cache{++_stores}";
        _service!.Evict(static _ => true);
        return backend switch
        {
            "inline" => new InlineStore(Registry, name),
            "registry" => new RegistryStore(Registry, name),
            "registry basic" => new RegistryStore(_basic!, name),
            "registry token" => new RegistryStore(_token!, name),
            "local" => new LocalStore($"{temp.Path}/{name}"),
            "s3" => new S3Store(_s3!, name),
            "azblob" => new AzureStore(_azure!, name),
            "gha v1" => new ActionsStore(_service, 1, name),
            "gha v2" => new ActionsStore(_service, 2, name),
            _ => throw new ArgumentException($"no store {backend}"),
        };
    }

    /// <summary>Two stages on the base image; no other build has these steps. The first stage has the files <c>src/source.txt</c>,
    /// <c>result.txt</c> and <c>random</c> in a layer each, the result <c>final</c> and those below <c>app</c>.</summary>
    public ContextDirectory Context(string? baseImage = null) => new ContextDirectory($"""
        FROM {baseImage ?? Base} AS build
        COPY source.txt /src/
        RUN tr a-z A-Z < /src/source.txt > /result.txt
        RUN od -An -N8 -tx1 /dev/urandom > /random
        FROM {baseImage ?? Base}
        RUN echo {Guid.NewGuid():N} > /final
        COPY --from=build /result.txt /random /app/
        """).Write("source.txt", Guid.NewGuid().ToString("N"));

    /// <summary>Arguments for the whole result as a tar whose bytes depend on nothing but the files.</summary>
    public static string[] TarTo(string file) => ["--opt", "build-arg:SOURCE_DATE_EPOCH=1700000000", "--output", $"type=tar,dest={file}"];
}

/// <summary>A test between the daemons and servers of <see cref="RoundTripFixture"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RoundTripFactAttribute : FactAttribute
{
    public RoundTripFactAttribute(params string[] more) => Skip = Requirement.Missing([.. RoundTripFixture.Needs, .. more]);
}

/// <summary>As <see cref="RoundTripFactAttribute"/>, for theories.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class RoundTripTheoryAttribute : TheoryAttribute
{
    public RoundTripTheoryAttribute(params string[] more) => Skip = Requirement.Missing([.. RoundTripFixture.Needs, .. more]);
}
