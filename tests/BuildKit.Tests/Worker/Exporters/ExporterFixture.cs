using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using BuildKit.Oci;
using BuildKit.Protocol.Grpc;
using BuildKit.Registry;
using BuildKit.Registry.Hosts;
using BuildKit.Solver;
using BuildKit.Storage;
using BuildKit.Storage.Content;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Storage.Snapshots;
using BuildKit.Tests.Session;
using BuildKit.Tests.Support;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Sessions;

namespace BuildKit.Tests.Worker.Exporters;

/// <summary>Exporters over a real content store and a client in this process.</summary>
internal sealed class ExporterFixture : IAsyncDisposable
{
    public const string Epoch = "1700000000";
    private readonly StorageRoot _storage;
    private readonly RegistryClient _registry = new(new RegistryConfig());

    private ExporterFixture(string root, StorageRoot storage)
    {
        (Root, _storage) = (root, storage);
        Factories = new ExporterServices
        {
            Content = storage.Content,
            Leases = storage.Leases,
            Registry = _registry,
            DefaultPlatform = new Platform("linux", "amd64"),
            TemporaryDirectory = Path.Combine(root, "tmp"),
            Version = "v0.20.0",
        }.CreateFactories();
    }

    public string Root { get; }

    public FileContentStore Content => _storage.Content;

    public IReadOnlyDictionary<string, IExporterFactory> Factories { get; }

    public RecordedProgress Progress { get; } = new();

    public static async Task<ExporterFixture> OpenAsync()
    {
        var root = Directory.CreateTempSubdirectory("exporters").FullName;
        return new ExporterFixture(root, await StorageRoot.OpenAsync(Path.Combine(root, "state"), new StorageOptions { Snapshotter = "native" }, default));
    }

    public static byte[] GoldenFile(params string[] parts) => File.ReadAllBytes(Golden.Path("exporters", parts));

    public IExporter Create(string type, params (string Key, string Value)[] attributes) =>
        Factories[type].Create(0, attributes.ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal));

    public ExportRequest Request(ExportSource source, params GrpcService[] client) => new()
    {
        Source = source,
        Context = new Context(Progress),
        SessionId = "client",
        Sessions = new OneClient(new InMemoryChannel(client)),
    };

    public async Task<byte[]> ReadAsync(Digest digest)
    {
        await using var blob = await Content.OpenAsync(digest, default);
        using var bytes = new MemoryStream();
        await blob.CopyToAsync(bytes);
        return bytes.ToArray();
    }

    public async Task AddAsync(byte[] blob)
    {
        await using var writer = await Content.OpenWriterAsync(Digest.Sha256(blob).ToString(), default);
        await writer.WriteAsync(blob, default);
        await writer.CommitAsync(blob.Length, Digest.Sha256(blob), new Dictionary<string, string>(), default);
    }

    /// <summary>A ref whose layers are those of a golden manifest, as the storage describes them.</summary>
    public FakeRef GoldenRef(string set, string suffix = "")
    {
        var manifest = Manifest.Parse(GoldenFile(set, $"manifest{suffix}.json"));
        var config = ImageConfig.Parse(GoldenFile(set, $"config{suffix}.json"));
        return new FakeRef
        {
            Layers = new RemoteLayers(
                [.. manifest.Layers.Zip(config.DiffIds, (layer, diffId) => layer with
                {
                    Annotations = new Dictionary<string, string>(layer.Annotations, StringComparer.Ordinal)
                    {
                        ["containerd.io/uncompressed"] = diffId.ToString(),
                        ["buildkit/createdat"] = "2026-01-01T00:00:00Z",
                        ["containerd.io/distribution.source.docker.io"] = "library/base",
                    },
                })],
                Content),
        };
    }

    /// <summary>What a frontend gives for a golden config: without what the exporter puts in.</summary>
    public static byte[] GoldenInput(string set, string suffix = "")
    {
        var config = RawJsonObject.Parse(GoldenFile(set, $"config{suffix}.json"));
        config.Remove("rootfs");
        config.Remove("moby.buildkit.cache.v0");
        return config.ToJson();
    }

    public static JsonElement GoldenJson(params string[] parts) => JsonDocument.Parse(GoldenFile(parts)).RootElement;

    public async ValueTask DisposeAsync()
    {
        _registry.Dispose();
        await _storage.DisposeAsync();
        Directory.Delete(Root, recursive: true);
    }

    private sealed class Context(IProgressWriter progress) : IOperationContext
    {
        public IProgressWriter Progress => progress;

        public IEnumerable<string> SessionIds => ["client"];

        public IReadOnlyDictionary<object, object> GetCacheOptions(bool includeAncestors, IReadOnlyCollection<object> keys) => new Dictionary<object, object>();
    }

    private sealed class OneClient(IGrpcChannel channel) : IClientSessions
    {
        public Task<ClientSession> GetAsync(string id, CancellationToken cancellationToken) =>
            Task.FromResult(new ClientSession(id, "", channel, _ => true));
    }
}

internal sealed class RecordedProgress : IProgressWriter
{
    private readonly ConcurrentQueue<ProgressStatus> _statuses = new();

    /// <summary>Lines in the order of their start.</summary>
    public IReadOnlyList<string> Lines => [.. _statuses.Where(status => status.Completed is null).Select(status => status.Id).Distinct()];

    public IReadOnlyList<string> Completed => [.. _statuses.Where(status => status.Completed is not null).Select(status => status.Id)];

    public void Write(VertexStatusUpdate update)
    {
    }

    public void Write(ProgressStatus status) => _statuses.Enqueue(status);

    public void Write(ProgressLog log) => Logs.Enqueue(Encoding.UTF8.GetString(log.Data.Span));

    public void Write(ProgressWarning warning)
    {
    }

    public ConcurrentQueue<string> Logs { get; } = new();
}

/// <summary>A ref with given layers, or the tree of a directory.</summary>
internal sealed class FakeRef : IImmutableRef, IMountable, IRefMetadata
{
    public RemoteLayers? Layers { get; init; }

    public string Directory { get; init; } = "";

    public string Id => "ref";

    public IRefMetadata Metadata => this;

    public string Description { get; set; } = "made by a test";

    public string RecordType { get; set; } = "regular";

    public DateTimeOffset CreatedAt { get; set; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public bool Retain { get; set; }

    public CompressionOptions? Asked { get; private set; }

    public Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken) => Task.FromResult<IMountable>(this);

    public Task<MountLease> AcquireAsync(CancellationToken cancellationToken) =>
        Task.FromResult(new MountLease([new MountSpec("bind", Directory, ["ro", "rbind"])], () => ValueTask.CompletedTask));

    public IImmutableRef Clone() => this;

    public Task ExtractAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task FinalizeAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public IReadOnlyList<IImmutableRef> LayerChain() => [.. (Layers?.Descriptors ?? []).Select(_ => this)];

    public Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken)
    {
        Asked = compression;
        return Task.FromResult<IReadOnlyList<RemoteLayers>>([Layers!]);
    }

    public string? Get(string key) => null;

    public void Set(string key, string? value, string? index = null)
    {
    }

    public byte[]? GetBlob(string key) => null;

    public void SetBlob(string key, ReadOnlySpan<byte> value)
    {
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
