using System.Collections.Concurrent;
using System.Text;
using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.Inline;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Export;
using BuildKit.RemoteCache.Import;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;
using BuildKit.Tests.Solver;
using BuildKit.Tests.Support;
using static BuildKit.Tests.Solver.TestBench;

namespace BuildKit.Tests.RemoteCache;

public sealed class CacheBackendGoldenTests
{
    [Theory]
    [InlineData("local-max")]
    [InlineData("local-max-docker")]
    [InlineData("local-max-image-manifest")]
    [InlineData("local-max-zstd")]
    [InlineData("local-max-multi")]
    public async Task A_golden_cache_directory_is_read_and_written_again_byte_for_byte(string entry)
    {
        var store = new DirectoryStore(Golden.Path("cache", "v0.20.0", entry, "dir"));
        var root = ImageIndex.Parse(await File.ReadAllBytesAsync(Golden.Path("cache", "v0.20.0", entry, "dir", "index.json"))).Manifests[0];
        var registry = CacheBackendRegistry.WithBuiltIns();
        var import = await registry.ResolveImporterAsync("local", Attributes($"src=dir,digest={root.Digest}"), Context(store), default);
        var progress = new RecordingProgress();
        var graph = Assert.Single(await import.ReadAsync(new CacheProgress(progress, TimeProvider.System), default));
        Assert.Equal(entry == "local-max-multi", graph.Count(n => n.Digest.ToString().StartsWith("sha256:43340346", StringComparison.Ordinal)) == 2);
        Assert.Contains(progress.Statuses, s => s.StartsWith("inferred cache manifest type: application/vnd.", StringComparison.Ordinal));

        var options = entry switch { "local-max-docker" => ",oci-mediatypes=false", "local-max-image-manifest" => ",image-manifest=true", _ => "" };
        var target = new DirectoryStore(null);
        var export = await registry.ResolveExporterAsync("local", Attributes("dest=out" + options), Context(target), default);
        var answer = await export.WriteAsync(await CacheMarshaller.MarshalAsync(graph, default), new CacheProgress(progress, TimeProvider.System), default);
        var written = Descriptor.Parse(Encoding.UTF8.GetBytes(answer["cache.manifest"]));
        Assert.Equal(root.MediaType, written.MediaType);
        // Twin layers may come in another order than the reference's; everything else is the same bytes.
        if (entry == "local-max-image-manifest" || !HasTwins(graph))
            Assert.Equal(root.Size, written.Size);
        Assert.Equal(
            store.All.Where(d => d.Value.Length < 1000 && d.Value.AsSpan().StartsWith("\u001f"u8)).Select(d => d.Key).Order(),
            target.All.Where(d => d.Value.Length < 1000 && d.Value.AsSpan().StartsWith("\u001f"u8)).Select(d => d.Key).Order());
        foreach (var blob in target.All)
            Assert.Equal(blob.Key, Digest.Sha256(blob.Value));
    }

    [Fact]
    public async Task An_empty_result_writes_nothing()
    {
        var store = new DirectoryStore(null);
        var progress = new RecordingProgress();
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("local", Attributes("dest=d"), Context(store), default);
        Assert.Empty(await export.WriteAsync(
            new MarshalledCache(new CacheConfig([], []), new Dictionary<Digest, LayerBlob>()), new CacheProgress(progress, TimeProvider.System), default));
        Assert.Empty(store.All);
        Assert.Contains("skipping cache export for empty result", progress.Statuses);
    }

    [Theory]
    [InlineData("inline")]
    [InlineData("inline-link")]
    public async Task The_cache_inside_a_golden_image_is_read_and_made_again(string entry)
    {
        var manifest = Manifest.Parse(await File.ReadAllBytesAsync(Golden.Path("cache", "v0.20.0", entry, "manifest.json")));
        var config = await File.ReadAllBytesAsync(Directory.EnumerateFiles(Golden.Path("cache", "v0.20.0", entry), "*" + manifest.Config.Digest.Hex, SearchOption.AllDirectories).First());
        var inline = InlineCache.ReadFromImage(manifest.Layers, config, null)!.Value;
        var blobs = inline.Layers.DistinctBy(l => l.Digest).ToDictionary(l => l.Digest, l => new LayerBlob(l, new CacheConfigGoldenTests.Everything()));
        var graph = CacheParser.Parse(inline.Config, blobs);

        var target = new CacheExportTarget();
        var records = new Dictionary<CacheNode, ICacheExporterRecord>(ReferenceEqualityComparer.Instance);
        foreach (var node in graph)
        {
            var record = records[node] = target.Add(node.Digest);
            foreach (var result in node.Results)
                record.AddResult(default, 0, result.CreatedAt.ToDateTimeOffset(), result.Layers);
            for (var i = 0; i < node.Inputs.Count; i++)
            {
                foreach (var link in node.Inputs[i])
                    record.LinkFrom(records[link.Source], i, link.Selector);
            }
        }
        var made = await InlineCache.CreateAsync(target, manifest.Layers.Select(l => l.Digest).ToList(), default);
        string Shape(IReadOnlyList<CacheConfigRecord> list) => string.Join('\n', list.Select(r =>
            $"{r.Digest} {string.Join(',', r.Results.Select(x => x.Layer))} {string.Join(',', r.Chains.Select(c => string.Join('+', c.Layers)))} {string.Join(';', r.Inputs.Select(i => i.Count))}").Order(StringComparer.Ordinal));
        Assert.Equal(Shape(inline.Config.Records), Shape(CacheConfig.ParseRecords(made!)));
        var image = InlineCache.AddToConfig(config, made!);
        Assert.Equal(Shape(CacheConfig.ParseRecords(made!)), Shape(InlineCache.ReadFromImage(manifest.Layers, image, null)!.Value.Config.Records));
    }

    [Fact]
    public async Task What_one_solver_exports_another_one_hits()
    {
        var blobs = new MemoryBlobs();
        var store = new DirectoryStore(null);
        var registry = CacheBackendRegistry.WithBuiltIns();
        Vertex Graph(IReadOnlyList<ICacheManager> sources)
        {
            var image = Step("img", sources: sources);
            var context = Step("context", key: "random:" + Hash("c").Hex, value: "tree", sources: sources);
            var copy = Step("copy", [Out(image), Out(context)], content: [1], sources: sources);
            return Step("run", [Out(copy)], selector: _ => "/", sources: sources);
        }

        Digest root;
        await using (var first = new TestBench())
        {
            var job = first.NewJob();
            var export = await registry.ResolveExporterAsync("local", Attributes("dest=d,mode=max"), Context(store), default);
            await using (var result = await job.BuildAsync(Out(Graph([])), default))
            {
                var answers = new List<string>();
                for (var i = 0; i < 2; i++)
                {
                    var answer = await job.InContextAsync(export.VertexName, (context, token) => CacheExport.RunAsync(
                        export, CacheExportMode.Max, [result], (r, _, _) => Task.FromResult<IReadOnlyList<object>>([blobs.LayersOf((string)r.Value)]),
                        context, TimeProvider.System, token), default, id: "cache-" + i);
                    answers.Add(answer["cache.manifest"]);
                }
                Assert.Equal(answers[0], answers[1]);
                root = Descriptor.Parse(Encoding.UTF8.GetBytes(answers[0])).Digest;
            }
            await job.DiscardAsync();
        }

        await using var second = new TestBench();
        var refs = new FakeRefs();
        var build = second.NewJob();
        var import = ImportedCache.Start(
            build, registry, "local", Attributes($"src=d,digest={root}"), Context(store), refs, r => Own(second.Ledger, r), default);
        await using (var result = await build.BuildAsync(Out(Graph([import])), default))
            Assert.StartsWith("imported ", (string)result.Result!.Value, StringComparison.Ordinal);
        Assert.Equal("context", second.TakeExecuted());
        Assert.True(refs.WasPulled);
        await build.DiscardAsync();
        // Saved locally with what lies below it: the next build needs no import.
        await second.BuildOnceAsync(Graph([]));
        Assert.DoesNotContain("run", second.TakeExecuted());
        await second.AssertNothingLeftAsync();
        Assert.Equal(0, refs.Alive);
    }

    [Fact]
    public async Task An_import_that_fails_is_shown_and_the_build_goes_on()
    {
        await using var bench = new TestBench();
        var job = bench.NewJob();
        var missing = Digest.Sha256("missing");
        var import = ImportedCache.Start(
            job, CacheBackendRegistry.WithBuiltIns(), "local", Attributes($"src=d,digest={missing}"), Context(new DirectoryStore(null)),
            new FakeRefs(), _ => throw new NotSupportedException(), default);
        await using (var result = await job.BuildAsync(Out(Step("a", sources: [import])), default))
            Assert.Equal("a()", result.Result!.Value);
        await job.DiscardAsync();
        List<VertexStatusUpdate> seen = [];
        await foreach (var status in job.StatusAsync(default))
            seen.AddRange(status.Vertices);
        var vertex = seen.Last(v => v.Name == "importing cache manifest from " + import.Id);
        Assert.Equal($"failed to configure local cache importer: NotFound: rpc error: code = NotFound desc = content {missing}: not found", vertex.Error);
    }

    /// <summary>The test's results are texts: the ref itself is not needed any more.</summary>
    private static IResult Own(Ledger ledger, IImmutableRef imported)
    {
        var result = ledger.NewResult("imported " + imported.Id);
        imported.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return result;
    }

    private static bool HasTwins(IReadOnlyList<CacheNode> graph) =>
        graph.SelectMany(n => n.Results).SelectMany(r => r.Layers.Descriptors).GroupBy(d => d.Digest).Any(g => g.Count() > 1)
        || graph.GroupBy(n => n.Digest).Any(g => g.Count() > 1);

    private static Dictionary<string, string> Attributes(string text) =>
        text.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(p => p.Split('=', 2)).ToDictionary(p => p[0], p => p[1], StringComparer.Ordinal);

    private static CacheBackendContext Context(IClientContentStore? store) => new()
    {
        Registry = new RegistryClient(new RegistryConfig()),
        Credentials = StaticRegistryCredentials.Anonymous,
        OpenClientStore = (_, _) => Task.FromResult(store),
    };

    private sealed class RecordingProgress : IProgressWriter
    {
        public ConcurrentQueue<string> Statuses { get; } = new();

        public void Write(VertexStatusUpdate update)
        {
        }

        public void Write(ProgressStatus status) => Statuses.Enqueue(status.Id);

        public void Write(ProgressLog log)
        {
        }

        public void Write(ProgressWarning warning)
        {
        }
    }

    private sealed class DirectoryStore : IClientContentStore
    {
        public DirectoryStore(string? layout)
        {
            if (layout is null)
                return;
            foreach (var file in Directory.EnumerateFiles(Path.Combine(layout, "blobs", "sha256")))
                All[Digest.Parse("sha256:" + Path.GetFileName(file))] = File.ReadAllBytes(file);
        }

        public ConcurrentDictionary<Digest, byte[]> All { get; } = [];

        public Task<long?> GetSizeAsync(Digest digest, CancellationToken cancellationToken) =>
            Task.FromResult(All.TryGetValue(digest, out var bytes) ? bytes.Length : (long?)null);

        public Task<Stream> OpenReadAsync(Digest digest, long offset, CancellationToken cancellationToken)
        {
            var stream = new MemoryStream(All[digest], writable: false);
            stream.Position = offset;
            return Task.FromResult<Stream>(stream);
        }

        public async Task WriteAsync(Descriptor descriptor, Stream content, CancellationToken cancellationToken)
        {
            using var buffer = new MemoryStream();
            await content.CopyToAsync(buffer, cancellationToken);
            Assert.Equal(descriptor.Size, buffer.Length);
            All[descriptor.Digest] = buffer.ToArray();
        }
    }

    private sealed class MemoryBlobs : IBlobProvider
    {
        private readonly ConcurrentDictionary<Digest, byte[]> _blobs = [];

        /// <summary>One layer per step: base, then what each step adds.</summary>
        public RemoteLayers LayersOf(string value)
        {
            List<Descriptor> layers = [];
            for (var part = value; part.Length > 0; part = part.Contains('(', StringComparison.Ordinal) ? part[(part.IndexOf('(', StringComparison.Ordinal) + 1)..^1] : "")
            {
                var bytes = Encoding.UTF8.GetBytes("layer " + part);
                var descriptor = Descriptor.Of(MediaTypes.OciLayerGzip, bytes) with
                {
                    Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { ["containerd.io/uncompressed"] = Digest.Sha256("diff " + part).ToString() },
                };
                _blobs[descriptor.Digest] = bytes;
                layers.Insert(0, descriptor);
            }
            return new RemoteLayers(layers, this);
        }

        public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) =>
            ValueTask.FromResult<Stream>(new MemoryStream(_blobs[descriptor.Digest], writable: false));

        public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => ValueTask.FromResult<Descriptor?>(descriptor);
    }

    private sealed class FakeRefs : IRefStore
    {
        private int _alive;

        public int Alive => _alive;

        public bool WasPulled { get; private set; }

        public IContentStore Content => throw new NotSupportedException();

        public Task<IImmutableRef> GetByBlobAsync(Descriptor descriptor, IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken)
        {
            return Task.FromResult<IImmutableRef>(new FakeRef(this, (parent is null ? "" : parent.Id + ">") + descriptor.Digest.Hex[..6]));
        }

        public Task PullAsync(IImmutableRef reference, CancellationToken cancellationToken)
        {
            WasPulled = true;
            return Task.CompletedTask;
        }

        public Task<IImmutableRef> GetAsync(string id, RefOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<IMutableRef> NewAsync(IImmutableRef? parent, RefOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<IMutableRef> GetMutableAsync(string id, RefOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<IImmutableRef?> MergeAsync(IReadOnlyList<IImmutableRef?> inputs, RefOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<IImmutableRef?> DiffAsync(IImmutableRef? lower, IImmutableRef? upper, RefOptions options, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task<IReadOnlyList<string>> SearchAsync(string index, CancellationToken cancellationToken) => throw new NotSupportedException();

        public IRefMetadata? GetMetadata(string id) => throw new NotSupportedException();

        public bool Exists(string id) => throw new NotSupportedException();

        public bool HasLostLayers(string id) => false;

        public Task<IReadOnlyList<UsageRecord>> DiskUsageAsync(IReadOnlyList<string> filters, CancellationToken cancellationToken) => throw new NotSupportedException();

        public Task PruneAsync(IReadOnlyList<PruneOptions> policies, Action<UsageRecord> onPruned, CancellationToken cancellationToken) => throw new NotSupportedException();

        private sealed class FakeRef : IImmutableRef
        {
            private readonly FakeRefs _store;

            public FakeRef(FakeRefs store, string id)
            {
                (_store, Id) = (store, id);
                Interlocked.Increment(ref store._alive);
            }

            public string Id { get; }

            public IRefMetadata Metadata => throw new NotSupportedException();

            public IImmutableRef Clone() => new FakeRef(_store, Id);

            public Task ExtractAsync(CancellationToken cancellationToken) => Task.CompletedTask;

            public Task FinalizeAsync(CancellationToken cancellationToken) => Task.CompletedTask;

            public IReadOnlyList<IImmutableRef> LayerChain() => [];

            public Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, BuildKit.Storage.Layers.CompressionOptions compression, bool all, CancellationToken cancellationToken) =>
                throw new NotSupportedException();

            public Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken) => throw new NotSupportedException();

            public ValueTask DisposeAsync()
            {
                Interlocked.Decrement(ref _store._alive);
                return ValueTask.CompletedTask;
            }
        }
    }
}
