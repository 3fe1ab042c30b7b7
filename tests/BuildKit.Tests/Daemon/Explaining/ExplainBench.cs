using System.Collections.Concurrent;
using System.Text;
using BuildKit.Cli.Text;
using BuildKit.Daemon.Explaining;
using BuildKit.Daemon.Solving;
using BuildKit.Linux;
using BuildKit.Llb;
using BuildKit.Protocol.Explain;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sources;
using Digest = BuildKit.Oci.Digest;
using Vertex = BuildKit.Solver.Vertex;

namespace BuildKit.Tests.Daemon.Explaining;

/// <summary>A file of a tree.</summary>
internal sealed record TestFile(string Content, uint Mode = 0x81A4, uint Uid = 0);

/// <summary>
/// A daemon without machine: the real solver, cache keys, content digests, recorder, store and explainer over trees that are
/// lists of files.
/// </summary>
internal sealed class ExplainBench : IOperationResolver, ICacheResultStorage, IExplainedResults, IAsyncDisposable
{
    private const string WorkerId = "worker";
    private static int _unique;

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"explain-{Environment.ProcessId}-{Interlocked.Increment(ref _unique)}.db");
    private readonly ContentHasher _hasher = new(new ContentChecksum(), WorkerId);
    private readonly StepStoreLimits? _limits;
    private readonly CountingHasher _counting;

    public ExplainBench(StepStoreLimits? limits = null, bool observes = true)
    {
        _limits = limits;
        _counting = new CountingHasher(_hasher);
        Store = StepStore.Open(_path, limits);
        Cache = new LocalCacheManager(Keys, this);
        Solver = new GraphSolver(this, Cache, Clock) { Observer = observes ? new StepRecorder(Store, Clock) : null };
    }

    public BenchClock Clock { get; } = new();

    public StepStore Store { get; private set; }

    public InMemoryKeyStorage Keys { get; } = new();

    public LocalCacheManager Cache { get; }

    public GraphSolver Solver { get; private set; }

    /// <summary>Files of the client's directory.</summary>
    public Dictionary<string, TestFile> Context { get; } = new(StringComparer.Ordinal) { ["src/main.c"] = new("int main;"), ["src/util.c"] = new("int util;") };

    /// <summary>What image names stand for.</summary>
    public Dictionary<string, string> Images { get; } = new(StringComparer.Ordinal);

    /// <summary>Steps that fail.</summary>
    public HashSet<string> Failing { get; } = new(StringComparer.Ordinal);

    /// <summary>Called when a step with this name is executed.</summary>
    public Dictionary<string, Func<Task>> WhenRun { get; } = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, IReadOnlyDictionary<string, TestFile>> Trees { get; } = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, bool> Gone { get; } = new(StringComparer.Ordinal);

    /// <summary>Results whose loading fails, with the text.</summary>
    public ConcurrentDictionary<string, string> Unloadable { get; } = new(StringComparer.Ordinal);

    public ConcurrentQueue<string> Executed { get; } = new();

    /// <summary>Contents hashed so far.</summary>
    public int Hashed => _counting.Computed;

    /// <summary>Lists of files made so far.</summary>
    public int Listed => _counting.ListsMade;

    /// <summary>Builds, and explains while the results are held, as the daemon does when it was asked to.</summary>
    public async Task<BuildExplanation> BuildAsync(
        State state, string? reference = null, IReadOnlyList<ICacheManager>? sources = null, IReadOnlyList<CacheImport>? imports = null,
        IReadOnlyDictionary<string, string>? options = null, bool live = true, string scope = "")
    {
        reference ??= "build" + Interlocked.Increment(ref _unique);
        var graph = LlbGraph.Load(await state.MarshalAsync(new MarshalOptions { Platform = BuildKit.Oci.Platform.Parse("linux/amd64"), LocalUniqueId = reference }));
        var build = new BuildRecord { Ref = reference, Started = Clock.Now.ToUnixTimeMilliseconds(), Scope = scope };
        foreach (var (name, value) in options ?? new Dictionary<string, string>())
            build.Options[name] = value;
        _ = Store.PutBuildAsync(build, isNew: true);
        var job = Solver.NewJob(reference);
        BuildExplanation? explanation = null;
        try
        {
            await using (await job.BuildAsync(SolverGraph.ToEdge(graph, sources ?? []), default))
            {
            }
        }
        catch (Exception) when (Failing.Count > 0 || Context.Count == 0)
        {
            build.Failed = true;
        }
        finally
        {
            build.Imports.AddRange(imports ?? []);
            await Store.PutBuildAsync(build, isNew: false);
            Store.Flush();
            explanation = await new Explainer(Store, this).ExplainAsync(reference, live, default);
            await job.DiscardAsync();
        }
        return explanation!;
    }

    /// <summary>The lines told of one step, without its name.</summary>
    public string Text(BuildExplanation explanation, string name)
    {
        var lines = new ExplanationText(Clock, static _ => null).Of(explanation).Split('\n');
        return string.Join('\n', lines.SkipWhile(line => line != name).Skip(1).TakeWhile(line => line.StartsWith("   ", StringComparison.Ordinal)).Select(line => line[3..]));
    }

    /// <summary>Forgets results, as pruning does.</summary>
    public async Task PruneAsync(string by, bool told = true)
    {
        foreach (var id in Trees.Keys)
            Gone[id] = true;
        Cache.ReleaseUnreferenced(default);
        if (told)
            await Store.MarkPrunedAsync([.. Trees.Keys], WorkerId, Clock.Now, by);
    }

    /// <summary>Opens the store anew, as a restarted daemon does.</summary>
    public async Task RestartAsync()
    {
        await Solver.DisposeAsync();
        Store.Dispose();
        Store = StepStore.Open(_path, _limits);
        Solver = new GraphSolver(this, Cache, Clock) { Observer = new StepRecorder(Store, Clock) };
    }

    public IOperation Resolve(Vertex vertex, ISubBuilder subBuilder)
    {
        var llb = (LlbVertex)vertex.Operation;
        return llb.Op.OpCase == Op.OpOneofCase.Source
            ? new SourceOperation(new Source(this, llb.Op.Source, vertex.Name), WorkerId, new WorkerSlots(0))
            : new Operation(this, llb);
    }

    public ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken) =>
        ValueTask.FromResult(new CacheResultInfo(WorkerResult.IdOf(WorkerId, result), createdAt));

    public Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken)
    {
        if (Unloadable.TryGetValue(result.Id, out var text))
            throw new IOException(text);
        var id = WorkerResult.RefIdOf(result.Id);
        return Task.FromResult<IResult?>(id.Length == 0 ? null : new WorkerResult(WorkerId, new Tree(id, Trees[id])));
    }

    public Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<object>>([]);

    public bool Exists(string resultId) => WorkerResult.RefIdOf(resultId) is var id && (id.Length == 0 || (Trees.ContainsKey(id) && !Gone.ContainsKey(id)));

    public Task<bool> HasSameContentAsync(string resultId, ContentEntry before, CancellationToken cancellationToken)
    {
        var file = Trees[WorkerResult.RefIdOf(resultId)][before.Path.TrimStart('/')];
        var digest = Hash(file with { Mode = before.Stat!.Value.Mode, Uid = before.Stat.Value.Uid });
        return Task.FromResult(ContentEntry.MarkOf(digest) == before.Mark);
    }

    public async ValueTask DisposeAsync()
    {
        await Solver.DisposeAsync();
        Store.Dispose();
        foreach (var file in Directory.GetFiles(Path.GetDirectoryName(_path)!, Path.GetFileName(_path) + "*"))
            File.Delete(file);
    }

    private WorkerResult NewResult(IReadOnlyDictionary<string, TestFile> files)
    {
        var id = "ref" + Interlocked.Increment(ref _unique);
        Trees[id] = files;
        return new WorkerResult(WorkerId, new Tree(id, files));
    }

    private static ContentHeader Header(TestFile file) => new() { Mode = file.Mode, Uid = file.Uid, Size = file.Content.Length };

    private static Digest Hash(TestFile file)
    {
        using var hash = Header(file).StartHash();
        hash.AppendData(Encoding.UTF8.GetBytes(file.Content));
        return Digest.FromSha256(hash.GetHashAndReset());
    }

    private sealed class Source(ExplainBench bench, SourceOp source, string name) : ISourceInstance
    {
        private bool IsLocal => source.Identifier.StartsWith("local://", StringComparison.Ordinal);

        public SourceMaterial Material => new LocalMaterial(name);

        private string Image => bench.Images.GetValueOrDefault(OperationDifferences.SourceName(source.Identifier), source.Identifier);

        public Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken) => Task.FromResult(IsLocal
            ? new SourceKey("session:" + source.Attrs.GetValueOrDefault("local.unique", "") + Interlocked.Increment(ref _unique), IsLast: true)
            : new SourceKey(Image + (index == 0 ? "" : " layers"), IsLast: index > 0) { Pin = Digest.Sha256(Image).ToString() });

        public async Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            bench.Executed.Enqueue(name);
            await Task.Yield();
            var files = IsLocal ? new Dictionary<string, TestFile>(bench.Context, StringComparer.Ordinal) : new(StringComparer.Ordinal) { ["etc/image"] = new(Image) };
            return bench.NewResult(files).Ref;
        }
    }

    private sealed class Operation(ExplainBench bench, LlbVertex vertex) : IOperation
    {
        public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            var (op, count) = (vertex.Op, vertex.Inputs.Count);
            var key = op.OpCase switch
            {
                Op.OpOneofCase.Exec => ExecDigest.Compute(op.Exec, PlatformConversion.ToOci(op.Platform), count),
                Op.OpOneofCase.File => FileDigest.Compute(op.File, count),
                _ => GraphDigest.Merge(op.Merge),
            };
            return Task.FromResult(new CacheMapResponse(key.ToCacheMap(bench._counting), Complete: true));
        }

        public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
        {
            bench.Executed.Enqueue(vertex.Name);
            if (bench.WhenRun.TryGetValue(vertex.Name, out var wait))
                await wait();
            if (bench.Failing.Contains(vertex.Name))
                throw new InvalidOperationException("exit code: 2");
            var files = new Dictionary<string, TestFile>(StringComparer.Ordinal);
            foreach (var input in inputs)
            {
                if (WorkerResult.RefOf(input) is { } tree)
                {
                    foreach (var (path, file) in bench.Trees[tree.Id])
                        files[path] = file;
                }
            }
            if (vertex.Op.Exec is { } exec)
                files["out/app"] = new TestFile(string.Join(' ', exec.Meta.Args));
            return [bench.NewResult(files)];
        }

        public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => default;
    }

    /// <summary>Counts what content is hashed and listed for.</summary>
    private sealed class CountingHasher(IContentHasher inner) : IContentHasher
    {
        public int Computed;
        public int ListsMade;

        public Task<Digest> ComputeAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref Computed);
            return inner.ComputeAsync(reference, selectors, cancellationToken);
        }

        public Task<ContentListing> ListAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref ListsMade);
            return inner.ListAsync(reference, selectors, cancellationToken);
        }
    }

    /// <summary>A ref that knows its content digests from a transfer and has no tree: whoever reads it fails.</summary>
    private sealed class Tree(string id, IReadOnlyDictionary<string, TestFile> files) : IImmutableRef
    {
        public string Id => id;

        public IRefMetadata Metadata { get; } = new TreeMetadata(id, files);

        public IImmutableRef Clone() => new Tree(id, files);

        public Task<IMountable> MountAsync(bool readOnly, CancellationToken cancellationToken) => throw new IOException($"{id} is read");

        public Task ExtractAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task FinalizeAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public IReadOnlyList<IImmutableRef> LayerChain() => [];

        public Task<IReadOnlyList<RemoteLayers>> GetRemotesAsync(bool createIfNeeded, CompressionOptions compression, bool all, CancellationToken cancellationToken) =>
            Task.FromResult<IReadOnlyList<RemoteLayers>>([]);

        public ValueTask DisposeAsync() => default;
    }

    private sealed class TreeMetadata(string id, IReadOnlyDictionary<string, TestFile> files) : IRefMetadata
    {
        public string Id => id;

        public string Description { get; set; } = "";

        public string RecordType { get; set; } = "";

        public DateTimeOffset CreatedAt { get; set; }

        public bool Retain { get; set; }

        public string? Get(string key) => null;

        public void Set(string key, string? value, string? index = null)
        {
        }

        public byte[]? GetBlob(string key)
        {
            if (key != ContentChecksum.MetadataKey)
                return null;
            var tree = ContentTree.ForTransfer();
            foreach (var (path, file) in files.OrderBy(pair => pair.Key, LinuxText.ByteOrder))
            {
                var parent = "";
                foreach (var part in path.Split('/')[..^1])
                {
                    parent = parent.Length == 0 ? part : $"{parent}/{part}";
                    tree.Put(parent, new ContentHeader { Mode = 0x41ED }, default);
                }
                tree.Put(path, Header(file), Hash(file));
            }
            return tree.Save();
        }

        public void SetBlob(string key, ReadOnlySpan<byte> value)
        {
        }
    }
}

/// <summary>A clock that is set by hand, in a zone of its own.</summary>
internal sealed class BenchClock : TimeProvider
{
    public DateTimeOffset Now { get; set; } = new(2026, 11, 24, 18, 2, 0, TimeSpan.Zero);

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override DateTimeOffset GetUtcNow() => Now;
}
