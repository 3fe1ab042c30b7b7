using System.Collections.Concurrent;
using System.Text;
using BuildKit.Client;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Backends.GitHubActions;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Backends.Local;
using BuildKit.RemoteCache.Backends.S3;
using BuildKit.RemoteCache.Config;
using BuildKit.Session.Content;
using BuildKit.Tests.RemoteCache.Stores;

namespace BuildKit.Tests.RemoteCache.Attributes;

/// <summary>Does what a row of <see cref="AttributeTable"/> says, against a store in memory or a directory, and puts into words what
/// came of it. Host, directory, token and layer digest read <c>@</c>, <c>$DIR</c>, <c>$TOKEN</c> and <c>#</c>.</summary>
internal sealed class AttributeProbe : IAsyncDisposable
{
    private static readonly CacheBackendRegistry Backends = CacheBackendRegistry.WithBuiltIns();
    private static readonly string[] ConfigurationOnly = ["mode", "ignores errors", "mounts", "patience", "timeout"];

    private readonly AttributeRow _row;
    private readonly string _directory = Directory.CreateTempSubdirectory("attributes-").FullName;
    private readonly ConcurrentBag<RecordingAttributes> _recorded = [];
    private MemoryRegistry? _registry;
    private MemoryStore? _objects;
    private ActionsService? _actions;
    private string _host = "127.0.0.1:1";
    private int _port;
    private string _token = StoreKit.Token(DateTimeOffset.UtcNow, ("refs/heads/main", 3));
    private Digest _digest = Digest.Sha256("nothing was exported");

    private AttributeProbe(AttributeRow row) => _row = row;

    /// <summary>Names of the attributes that were asked for so far.</summary>
    public IEnumerable<string> Asked => _recorded.SelectMany(attributes => attributes.Asked).Distinct(StringComparer.Ordinal);

    private bool IsExport => _row.Side == "export";

    public static async Task<AttributeProbe> StartAsync(AttributeRow row)
    {
        var probe = new AttributeProbe(row);
        switch (NeedsStore(row) ? row.Type : "")
        {
            case "registry":
                probe._registry = await MemoryRegistry.StartAsync();
                (probe._host, probe._port) = (probe._registry.Host, probe._registry.Port);
                break;
            case "s3" or "azblob":
                probe._objects = await MemoryStore.StartAsync();
                probe._objects.KnowsConditions = true;
                probe._host = probe._objects.Host;
                break;
            case "gha":
                probe._actions = await ActionsService.StartAsync();
                probe._host = probe._actions.Host;
                probe._token = probe._actions.IssueToken(("refs/heads/main", 3));
                break;
        }
        return probe;
    }

    /// <summary>What is refused is refused before anything is asked.</summary>
    private static bool NeedsStore(AttributeRow row) => row.Facet switch
    {
        "refused" or "refused by the daemon" => row.Expected == "accepted",
        "compression" => row.Type == "azblob",
        _ => !ConfigurationOnly.Contains(row.Facet),
    };

    public async ValueTask DisposeAsync()
    {
        if (_registry is not null)
            await _registry.DisposeAsync();
        if (_objects is not null)
            await _objects.DisposeAsync();
        if (_actions is not null)
            await _actions.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>What comes of the row.</summary>
    public async Task<string> OutcomeAsync() => _row.Facet switch
    {
        "refused" or "not found" => await RefusalAsync(throughClient: true),
        "refused by the daemon" => await RefusalAsync(throughClient: false),
        "without a session" => await RefusalAsync(throughClient: false, Context() with { OpenClientStore = (_, _) => Task.FromResult<IClientContentStore?>(null) }),
        "stored" => await StoredAsync(),
        "joined" => await JoinedAsync(),
        "found" => await FoundAsync(),
        "mode" => CacheAttributes.Mode(Given()).ToString(),
        "ignores errors" => CacheAttributes.IgnoreError(Given()).ToString(),
        "mounts" => CacheMountSelection.Read(Given()) is { } selection ? string.Join(' ', new[] { "go", "npm", "pip" }.Where(id => selection.Includes("namespace/" + id))) : "none",
        "compression" => Shown((await Backends.ResolveExporterAsync(_row.Type, Given(), Context(), default)).Compression),
        "patience" => CacheAttributes.Patience(_row.Type, Given()).ToString("c"),
        "timeout" => (_row.Type switch
        {
            "s3" => S3Config.Read(Given(), Variable).Timeout,
            "azblob" => AzureBlobConfig.Read(Given(), Variable).Timeout,
            _ => ActionsCacheConfig.Read(Given(), DateTimeOffset.UtcNow).Timeout,
        }).ToString("c"),
        "touched" => await TouchedAsync(),
        "at once" => await AtOnceAsync(),
        "places" => await CapturedAsync(handler => handler.Places),
        "identities" => await CapturedAsync(handler => handler.Identities),
        _ => throw new NotSupportedException(_row.Facet),
    };

    /// <summary>Runs an export or import as builds do.</summary>
    public Task RunAsync() => IsExport ? ExportAsync(Given(), Context(new JumpingTime()), "a") : FoundAsync();

    private RecordingAttributes Given() => Recorded(Merged(Basic(_row.Side), _row.Given));

    private RecordingAttributes Recorded(IReadOnlyDictionary<string, string> attributes)
    {
        var recorded = new RecordingAttributes(attributes);
        _recorded.Add(recorded);
        return recorded;
    }

    private string Basic(string side) => _row.Type switch
    {
        "registry" => "ref=@/h/a",
        "local" => side == "export" ? "dest=$DIR/c" : "src=$DIR/c",
        "gha" => "url=http://@/,token=$TOKEN",
        "s3" => "endpoint_url=http://@,use_path_style=1,bucket=bkt,region=eu-west-9,access_key_id=AK,secret_access_key=SK",
        "azblob" => "account_url=http://@/az,account_name=acct,secret_access_key=c2VjcmV0",
        _ => "",
    };

    /// <summary>Attributes of two lists; <c>-NAME</c> in the second takes one of the first away.</summary>
    private Dictionary<string, string> Merged(string basic, string more)
    {
        var attributes = StoreKit.Attributes(Filled(basic));
        foreach (var part in Filled(more).Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part[0] == '-')
                attributes.Remove(part[1..]);
            else
                attributes[part.Split('=', 2)[0]] = part.Split('=', 2)[1];
        }
        return attributes;
    }

    private string Filled(string text) => text.Replace("@", _host, StringComparison.Ordinal).Replace("$PORT", $"{_port}", StringComparison.Ordinal)
        .Replace("$DIR", _directory, StringComparison.Ordinal).Replace("$TOKEN", _token, StringComparison.Ordinal).Replace("$DIGEST", _digest.ToString(), StringComparison.Ordinal);

    private string Shown(string text) =>
        text.Replace(_directory, "$DIR", StringComparison.Ordinal).Replace(_host, "@", StringComparison.Ordinal).Replace(_token, "$TOKEN", StringComparison.Ordinal);

    private static string Shown(BuildKit.Storage.Layers.CompressionOptions compression) =>
        $"{compression.Type}{(compression.Level is { } level ? $" level {level}" : "")}{(compression.Force ? " forced" : "")}";

    private string? Variable(string name) => _row.Environment.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(pair => Filled(pair).Split('=', 2)).FirstOrDefault(pair => pair[0] == name)?[1];

    private CacheBackendContext Context(TimeProvider? time = null) => StoreKit.Context() with
    {
        OpenClientStore = (name, _) => Task.FromResult<IClientContentStore?>(new DirectoryStore(name[ContentStores.Local("").Length..])),
        Environment = Variable,
        Time = time ?? TimeProvider.System,
    };

    /// <summary>Exports as client and daemon do.</summary>
    private async Task ExportAsync(RecordingAttributes attributes, CacheBackendContext context, string branch, bool throughClient = true, int layers = 1)
    {
        var options = new SolveOptions
        {
            Ref = "r",
            CacheExports = [new CacheRequest(_row.Type, attributes)],
            JoinLocalCache = (layout, current, exported, all, token) => LocalCacheMerge.JoinAsync(layout, current, exported, all, context.Time, token),
        };
        var stores = throughClient ? await LocalStores.OpenAsync(options, default) : null;
        var export = await Backends.ResolveExporterAsync(_row.Type, attributes, context, default);
        _ = (CacheAttributes.Mode(attributes), CacheAttributes.IgnoreError(attributes), CacheMountSelection.Read(attributes));
        if (export is InlineCacheExport)
            return;
        var answer = await export.WriteAsync(await CacheAsync(branch, context.Time, layers), StoreKit.Progress(), default);
        if (answer.TryGetValue("cache.manifest", out var manifest))
            _digest = Descriptor.Parse(Encoding.UTF8.GetBytes(manifest)).Digest;
        if (stores is not null)
            await stores.FinishAsync(answer, default);
    }

    /// <summary>Imports as client and daemon do; null with the client's warning when the client leaves it out.</summary>
    private async Task<(IReadOnlyList<IReadOnlyList<CacheNode>>? Graphs, string Warning)> ImportAsync(RecordingAttributes attributes, CacheBackendContext context, bool throughClient = true)
    {
        IReadOnlyDictionary<string, string> sent = attributes;
        var warning = "";
        if (throughClient)
        {
            var stores = await LocalStores.OpenAsync(new SolveOptions { Ref = "r", CacheImports = [new CacheRequest(_row.Type, attributes)], Warn = text => warning = text }, default);
            if (stores.CacheImports.Count == 0)
                return (null, warning);
            sent = ReferenceEquals(stores.CacheImports[0].Attributes, attributes) ? attributes : Recorded(stores.CacheImports[0].Attributes);
        }
        _ = (CacheAttributes.Patience(_row.Type, sent), CacheMountSelection.Read(sent));
        var import = await Backends.ResolveImporterAsync(_row.Type, sent, context, default);
        var graphs = await import.ReadAsync(StoreKit.Progress(), default);
        // The layers must be where the import says.
        foreach (var layers in graphs.SelectMany(graph => graph).SelectMany(node => node.Results).Select(result => result.Layers))
        {
            foreach (var layer in layers.Descriptors)
            {
                await using var stream = await layers.Provider.OpenAsync(layer, 0, default);
                using var bytes = new MemoryStream();
                await stream.CopyToAsync(bytes);
                Assert.Equal(layer.Digest, Digest.Sha256(bytes.ToArray()));
            }
        }
        return (graphs, warning);
    }

    /// <summary>A root and one step of a branch's own.</summary>
    private static Task<MarshalledCache> CacheAsync(string branch, TimeProvider time, int count)
    {
        var blobs = new MemoryProvider();
        List<Descriptor> layers = [];
        for (var i = 0; i < count; i++)
        {
            var bytes = new byte[1000];
            new Random((branch[0] * 100) + i).NextBytes(bytes);
            layers.Add(Descriptor.Of(MediaTypes.OciLayerGzip, bytes) with
            {
                Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { ["containerd.io/uncompressed"] = Digest.Sha256(branch + i).ToString() },
            });
            blobs.Blobs[layers[^1].Digest] = bytes;
        }
        var root = new CacheNode(Digest.Sha256("root"));
        var step = new CacheNode(Digest.Sha256("step " + branch));
        step.LinkFrom(root, 0, default);
        step.Results.Add(new CacheNodeResult(new(layers, blobs), Rfc3339Time.From(time.GetUtcNow())));
        return CacheMarshaller.MarshalAsync([root, step], default);
    }

    private async Task<string> RefusalAsync(bool throughClient, CacheBackendContext? context = null)
    {
        try
        {
            if (IsExport)
                await ExportAsync(Given(), context ?? Context(), "a", throughClient);
            else
                await ImportAsync(Given(), context ?? Context(), throughClient);
            return "accepted";
        }
        catch (Exception e) when (e is RemoteCacheException or ClientException or BuildKit.Registry.RegistryException)
        {
            return Shown(e.Message);
        }
    }

    private async Task<string> StoredAsync()
    {
        await ExportAsync(Given(), Context(), "a");
        var stored = _row.Type switch
        {
            "registry" => _registry!.Tags.Where(tag => !tag.Key.Contains(":sha256:", StringComparison.Ordinal)).Select(tag => $"{tag.Key} {Form(_registry.Manifest(tag.Key))}"),
            "local" => Directory.GetFiles(_directory, "index.json", SearchOption.AllDirectories).SelectMany(file => ImageIndex.Parse(File.ReadAllBytes(file)).Manifests.Select(manifest =>
                $"{Path.GetDirectoryName(file)}:{manifest.Annotations["org.opencontainers.image.ref.name"]} {Form(File.ReadAllBytes(new OciLayout(Path.GetDirectoryName(file)!).BlobPath(manifest.Digest)))}")),
            "gha" => _actions!.Entries,
            _ => _objects!.Objects.Keys,
        };
        var layer = (await CacheAsync("a", TimeProvider.System, 1)).Blobs.Keys.Single().Hex;
        return Shown(string.Join(" | ", stored.Select(text => text.Replace(layer, "#", StringComparison.Ordinal)).Order(StringComparer.Ordinal)));
    }

    /// <summary>Media types of a document and of what it names.</summary>
    private static string Form(byte[] json)
    {
        string Short(string mediaType) => mediaType["application/vnd.".Length..];
        if (json.AsSpan().IndexOf("\"manifests\""u8) >= 0)
        {
            var index = ImageIndex.Parse(json);
            return $"{Short(index.MediaType)} of {string.Join(", ", index.Manifests.Select(entry => Short(entry.MediaType)))}";
        }
        var manifest = Manifest.Parse(json);
        return $"{Short(manifest.MediaType)} of config {Short(manifest.Config.MediaType)}, {string.Join(", ", manifest.Layers.Select(entry => Short(entry.MediaType)))}";
    }

    /// <summary>Branch a is exported four days before branch b; only b has the row's attributes.</summary>
    private async Task<string> JoinedAsync()
    {
        await ExportAsync(Recorded(Merged(Basic("export"), _row.Before)), Context(new LaterTime(TimeSpan.FromDays(-4))), "a");
        await ExportAsync(Given(), Context(new JumpingTime()), "b");
        var (graphs, _) = await ImportAsync(new RecordingAttributes(Merged(Basic("import"), "")), Context());
        var nodes = graphs!.SelectMany(graph => graph).ToList();
        return string.Join(' ', new[] { "a", "b" }.Where(branch => nodes.Exists(node => node.Digest == Digest.Sha256("step " + branch) && node.Results.Count > 0)));
    }

    private async Task<string> FoundAsync()
    {
        if (_row.Before != "nothing")
            await ExportAsync(new RecordingAttributes(Merged(Basic("export"), _row.Before)), Context(), "a");
        var (graphs, warning) = await ImportAsync(Given(), Context());
        return graphs is null ? Shown("left out: " + warning) : graphs.Sum(graph => graph.Sum(node => node.Results.Count)) switch
        {
            0 => "nothing",
            1 => "the result",
            var count => $"{count} results",
        };
    }

    private async Task<string> TouchedAsync()
    {
        await ExportAsync(Given(), Context(), "a");
        await ExportAsync(Given(), Context(new LaterTime(TimeSpan.FromHours(25))), "a");
        return _objects!.Requests.Any(request => request.Contains("x-id=CopyObject", StringComparison.Ordinal)) ? "after a day" : "not after a day";
    }

    /// <summary>How many layers are asked for at the same time: requests are held until as many are there as the row expects.</summary>
    private async Task<string> AtOnceAsync()
    {
        var wanted = int.Parse(_row.Expected, System.Globalization.CultureInfo.InvariantCulture);
        var (now, most) = (0, 0);
        var enough = new TaskCompletionSource();
        _objects!.Before = async context =>
        {
            if (context.Request.Method != "HEAD")
                return false;
            var count = Interlocked.Increment(ref now);
            lock (enough)
                most = Math.Max(most, count);
            if (count >= wanted)
                enough.TrySetResult();
            await enough.Task.WaitAsync(TimeSpan.FromMinutes(1));
            await Task.Delay(20);
            Interlocked.Decrement(ref now);
            return false;
        };
        await ExportAsync(Given(), Context(), "a", layers: 12);
        return most.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    private async Task<string> CapturedAsync(Func<CapturingHandler, IEnumerable<string>> what)
    {
        using var handler = new CapturingHandler(_host);
        using var http = new HttpMessageInvoker(handler);
        if (IsExport)
            await ExportAsync(Given(), Context() with { Http = http }, "a");
        else
            await ImportAsync(Given(), Context() with { Http = http });
        return Shown(string.Join(' ', what(handler).Where(text => text.Length > 0).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)));
    }

    /// <summary>The system's clock, moved.</summary>
    private sealed class LaterTime(TimeSpan by) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + by;
    }
}
