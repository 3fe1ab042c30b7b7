using System.Globalization;
using BuildKit.Oci;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Import;
using BuildKit.Scale;
using BuildKit.Solver;
using BuildKit.Storage.Content;
using BuildKit.Storage.Refs;

// The solver at sizes no Dockerfile reaches, over its real key storage: a graph cold and cached, a large import, many
// builds at once. Exits with 1 when the cost of one item grows with the number of items.
var work = Directory.CreateTempSubdirectory("buildkit-scale.");
var runs = int.TryParse(Environment.GetEnvironmentVariable("RUNS"), CultureInfo.InvariantCulture, out var given) ? Math.Max(1, given) : 2;
int[] graphSizes = [2_500, 5_000, 10_000];
int[] recordCounts = [12_500, 25_000, 50_000];
int[] buildCounts = [25, 50, 100];
var linear = true;
try
{
    Measurement.PrintHead();
    foreach (var (shape, make) in new (string, Func<string, int, Vertex>)[] { ("layered", Graphs.Layered), ("chain", Graphs.Chain) })
    {
        linear &= await Measurement.RunAsync($"{shape} graph, cold (steps)", graphSizes, runs, async size =>
        {
            var bench = new Bench(NewFile());
            await bench.BuildAsync(make(shape, size), expectExecuted: true);
            return bench;
        });
        linear &= await Measurement.RunAsync($"{shape} graph, cached after a restart (steps)", graphSizes, runs, CachedAsync(make, shape));
    }
    linear &= await Measurement.RunAsync("imported cache, read and hit (records)", recordCounts, runs, ImportAsync);
    linear &= await Measurement.RunAsync("builds at once of one target of 500 steps", buildCounts, runs, count => ManyAsync(count, isSame: true));
    linear &= await Measurement.RunAsync("builds at once of different targets of 500", buildCounts, runs, count => ManyAsync(count, isSame: false));
    linear &= await Measurement.RunAsync("key storage, links added and followed", [250_000, 500_000, 1_000_000], 1, LinksAsync);
}
finally
{
    work.Delete(recursive: true);
}
Console.WriteLine(linear ? "growth is linear" : "growth is worse than linear: see the last column");
return linear ? 0 : 1;

string NewFile() => Path.Combine(work.FullName, Guid.NewGuid().ToString("N") + ".db");

// Sizes are built once; each measurement opens the file anew, as a restarted daemon does.
Func<int, Task<object?>> CachedAsync(Func<string, int, Vertex> make, string shape)
{
    var prepared = new Dictionary<int, (string File, Results Results)>();
    foreach (var size in graphSizes)
    {
        var file = NewFile();
        var bench = new Bench(file);
        bench.BuildAsync(make(shape, size), expectExecuted: true).GetAwaiter().GetResult();
        prepared[size] = (file, bench.Results);
        bench.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
    return async size =>
    {
        var bench = new Bench(prepared[size].File, prepared[size].Results);
        await bench.BuildAsync(make(shape, size), expectExecuted: false);
        return bench;
    };
}

// A cache config of that many records, in a hundred chains; one of them is what is built.
async Task<object?> ImportAsync(int count)
{
    var json = Imports.Config(count, out var target);
    var config = CacheConfig.Parse(json);
    var blobs = config.Layers.ToDictionary(l => l.Blob, l => new LayerBlob(new Descriptor(MediaTypes.OciLayerGzip, l.Blob, 1), NoBlobs.Instance));
    var parsed = new ParsedCache(CacheParser.Parse(config, blobs));
    var import = new LocalCacheManager("import", parsed, new Results(isImport: true));
    var bench = new Bench(NewFile());
    await bench.BuildAsync(Imports.WithImport(target, import), expectExecuted: false);
    return bench;
}

async Task<object?> ManyAsync(int count, bool isSame)
{
    var bench = new Bench(NewFile());
    await Task.WhenAll(Enumerable.Range(0, count).Select(i =>
        bench.BuildAsync(Graphs.Layered(isSame ? "same" : string.Create(CultureInfo.InvariantCulture, $"target {i}"), 500), expectExecuted: null)));
    var executed = bench.Operations.TakeExecuted();
    var expected = isSame ? 501 : 501 * count;
    return executed == expected ? bench : throw new InvalidOperationException($"{executed} steps executed, expected {expected}");
}

Task<object?> LinksAsync(int count)
{
    var file = NewFile();
    using (var storage = SqliteKeyStorage.Open(file))
    {
        for (var i = 0; i < count; i++)
            storage.AddLink(KeyOf(i), LinkOf(i), KeyOf(i + 1));
    }
    var opened = SqliteKeyStorage.Open(file);
    for (var i = 0; i < 10_000; i++)
    {
        var at = (int)((long)i * 7919 % count);
        if (opened.GetLinks(KeyOf(at), LinkOf(at)) is not [var above] || above != KeyOf(at + 1))
            throw new InvalidOperationException($"link {at} is not there");
    }
    return Task.FromResult<object?>(new Closing(opened));

    static string KeyOf(int i) => string.Create(CultureInfo.InvariantCulture, $"sha256:{i:x64}");
    static CacheLink LinkOf(int i) => new(0, 0, Digest.Unchecked(string.Create(CultureInfo.InvariantCulture, $"sha256:{i % 97:x64}")), default);
}

/// <summary>A solver over a key file.</summary>
internal sealed class Bench : IAsyncDisposable
{
    private static int _jobs;
    private readonly SqliteKeyStorage _keys;

    public Bench(string file, Results? results = null)
    {
        Results = results ?? new Results(isImport: false);
        _keys = SqliteKeyStorage.Open(file);
        Solver = new GraphSolver(Operations, new LocalCacheManager(_keys, Results), TimeProvider.System);
    }

    public Operations Operations { get; } = new();

    public Results Results { get; }

    public GraphSolver Solver { get; }

    /// <summary>Builds; checks that steps were executed, or that none was, unless that is null.</summary>
    public async Task BuildAsync(Vertex target, bool? expectExecuted)
    {
        var job = Solver.NewJob("job" + Interlocked.Increment(ref _jobs).ToString(CultureInfo.InvariantCulture));
        var result = await job.BuildAsync(new Edge(target, 0), CancellationToken.None);
        await result.DisposeAsync();
        await job.DiscardAsync();
        if (expectExecuted is { } expected && Operations.TakeExecuted() > 0 != expected)
            throw new InvalidOperationException(expected ? "nothing was executed" : "steps were executed although they are cached");
    }

    public async ValueTask DisposeAsync()
    {
        await Solver.DisposeAsync();
        _keys.Dispose();
    }
}

/// <summary>Disposes a storage when its measurement is over.</summary>
internal sealed class Closing(IDisposable inner) : IAsyncDisposable
{
    public ValueTask DisposeAsync()
    {
        inner.Dispose();
        return ValueTask.CompletedTask;
    }
}

/// <summary>Blobs that are named but never fetched.</summary>
internal sealed class NoBlobs : IBlobProvider
{
    public static NoBlobs Instance { get; } = new();

    public ValueTask<Descriptor?> StatAsync(Descriptor descriptor, CancellationToken cancellationToken) => throw new NotSupportedException("nothing is fetched here");

    public ValueTask<Stream> OpenAsync(Descriptor descriptor, long offset, CancellationToken cancellationToken) => throw new NotSupportedException("nothing is fetched here");
}
