using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.RemoteCache.Tools;
using BuildKit.Tests.RemoteCache.Stores;
using static BuildKit.Tests.RemoteCache.Merging.MergeKit;

namespace BuildKit.Tests.RemoteCache.Merging;

/// <summary>A shared cache with limits over many exports, in every kind of store: it does not grow, what it keeps can be used, and
/// pruning frees what it dropped without harm to exports under way.</summary>
public sealed class BoundedCacheTests : IAsyncLifetime
{
    private const int Exports = 30;
    private const int LayerSize = 1000;
    private const int CommonSize = 100;

    // Above what a record and its layers take in the largest form, below what ten more of them would.
    private const int BytesPerBranch = 1200;

    private readonly MergeKit _kit = new();
    private readonly JumpingTime _time = new();
    private readonly string _directory = Directory.CreateTempSubdirectory("bounded-").FullName;
    private MemoryStore _store = null!;
    private MemoryRegistry _registry = null!;
    private ActionsService _actions = null!;

    public async Task InitializeAsync()
    {
        (_store, _registry, _actions) = (await MemoryStore.StartAsync(), await MemoryRegistry.StartAsync(), await ActionsService.StartAsync());
        _store.Time = _time;
    }

    public async Task DisposeAsync()
    {
        await _store.DisposeAsync();
        await _registry.DisposeAsync();
        await _actions.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private Dictionary<string, string> Attributes(string type) => type switch
    {
        "registry" => StoreKit.Attributes("ref=@/cache:v1,timeout=10m", _registry.Host),
        "local" => StoreKit.Attributes($"dest={_directory},src={_directory}"),
        "azblob" => StoreKit.Attributes($"account_url=http://@/az,account_name=az,secret_access_key={Convert.ToBase64String(new byte[32])}", _store.Host),
        "gha" => StoreKit.Attributes($"url=http://@/,token={_actions.IssueToken(("refs/heads/main", 3))}", _actions.Host),
        _ => StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s", _store.Host),
    };

    private async Task ExportAsync(string type, MarshalledCache cache, string more)
    {
        var attributes = Attributes(type);
        foreach (var (name, value) in StoreKit.Attributes("merge=true" + more))
            attributes[name] = value;
        if (type == "local")
            await new MergeDirectory(_directory).ExportAsync(attributes, cache, _time);
        else
            await MergeKit.ExportAsync(type, attributes, cache, _time);
    }

    private CacheTools Tools => new(CacheBackendRegistry.WithBuiltIns(), StoreKit.Context(time: _time));

    private Task<MarshalledCache> ReadAsync(string type) => Tools.ReadAsync(new CacheLocation(type, Attributes(type)), StoreKit.Progress(), believe: true, default);

    /// <summary>Layers in the store.</summary>
    private int Layers(string type) => type switch
    {
        "registry" => -1,
        "gha" => -1,
        "local" => Directory.GetFiles($"{_directory}/blobs/sha256").Count(file => new FileInfo(file).Length is LayerSize or CommonSize),
        _ => _store.Objects.Keys.Count(key => key.Contains("blobs", StringComparison.Ordinal)),
    };

    [Theory]
    [InlineData("local")]
    [InlineData("registry")]
    [InlineData("s3")]
    [InlineData("s3", true)]
    [InlineData("azblob")]
    [InlineData("gha")]
    public async Task Results_that_no_build_exports_any_more_leave_after_their_time(string type, bool knowsConditions = false)
    {
        _store.KnowsConditions = knowsConditions || type == "azblob";
        // The token of the service is valid for an hour.
        var step = type == "gha" ? TimeSpan.FromSeconds(61) : TimeSpan.FromDays(1);
        var keep = type == "gha" ? "5m" : "120h";
        string[] names = [.. Enumerable.Range(0, Exports).Select(i => "step" + i)];
        for (var i = 0; i < Exports; i++)
        {
            await ExportAsync(type, await _kit.BranchAsync(names[i]), ",keep-duration=" + keep);
            var there = await ReadAsync(type);
            // The export, what is younger than five steps, the step all have, their root.
            Assert.InRange(there.Config.Records.Count, 3, 2 + 6);
            Assert.InRange(there.Config.ToJson().Length, 1, 8 * BytesPerBranch);
            Assert.InRange(there.Blobs.Values.Sum(blob => blob.Descriptor.Size), LayerSize, CommonSize + (6 * LayerSize));
            _time.Advance(step);
        }
        await AssertKeptAsync(type, names, [.. names.TakeLast(5)]);
    }

    [Theory]
    [InlineData("local")]
    [InlineData("registry")]
    [InlineData("s3")]
    [InlineData("s3", true)]
    [InlineData("azblob")]
    [InlineData("gha")]
    public async Task Layers_together_stay_below_their_limit(string type, bool knowsConditions = false)
    {
        _store.KnowsConditions = knowsConditions || type == "azblob";
        var step = type == "gha" ? TimeSpan.FromSeconds(61) : TimeSpan.FromHours(2);
        string[] names = [.. Enumerable.Range(0, Exports).Select(i => "step" + i)];
        for (var i = 0; i < Exports; i++)
        {
            await ExportAsync(type, await _kit.BranchAsync(names[i]), ",keep-bytes=4100");
            var there = await ReadAsync(type);
            Assert.InRange(there.Blobs.Values.Sum(blob => blob.Descriptor.Size), LayerSize, 4100);
            Assert.InRange(there.Config.ToJson().Length, 1, 6 * BytesPerBranch);
            _time.Advance(step);
        }
        await AssertKeptAsync(type, names, [.. names.TakeLast(4)]);
    }

    /// <summary>What was kept can be used to its last byte; of the rest nothing is left once the store was pruned.</summary>
    private async Task AssertKeptAsync(string type, string[] names, string[] kept)
    {
        var there = await ReadAsync(type);
        Assert.Equal(kept, Steps(there, names));
        Assert.Empty(await CacheVerification.RunAsync(there, null, default));
        if (type == "gha")
            return;
        if (Layers(type) >= 0)
            Assert.Equal(Exports + 1, Layers(type));
        _time.Advance(TimeSpan.FromHours(2));
        await Tools.PruneAsync(new CacheLocation(type, Attributes(type)), new CachePruneRequest(CacheLimits.None, TimeSpan.FromHours(1)), default);
        // A part that a writer left in a store without conditions names the same layers as the cache.
        if (Layers(type) >= 0)
            Assert.Equal(kept.Length + 1, Layers(type));
        there = await ReadAsync(type);
        Assert.Equal(kept, Steps(there, names));
        Assert.Empty(await CacheVerification.RunAsync(there, null, default));
    }

    [Theory]
    [InlineData("s3", false)]
    [InlineData("s3", true)]
    [InlineData("azblob", true)]
    public async Task An_old_layer_that_an_export_found_is_not_pruned_before_its_list_is_written(string type, bool knowsConditions)
    {
        _store.KnowsConditions = knowsConditions;
        // What a plain export replaced: the layer of "again" is there, old, and nothing names it.
        await MergeKit.ExportAsync(type, Attributes(type), await _kit.BranchAsync("again"), _time);
        await MergeKit.ExportAsync(type, Attributes(type), await _kit.BranchAsync("other"), _time);
        _time.Advance(TimeSpan.FromDays(3));
        await WhileAnExportIsAboutToWriteItsListAsync(type, "again", async () =>
        {
            var pruned = await PruneAsync(type, CacheLimits.None);
            Assert.Empty(pruned.Removed);
        });
        await AssertUsableAsync(type, "again", "other");
    }

    [Theory]
    [InlineData("s3", false)]
    [InlineData("s3", true)]
    [InlineData("azblob", true)]
    public async Task A_layer_that_loses_its_name_while_it_is_exported_again_is_there_in_the_end(string type, bool knowsConditions)
    {
        _store.KnowsConditions = knowsConditions;
        await ExportAsync(type, await _kit.BranchAsync("again"), "");
        await ExportAsync(type, await _kit.BranchAsync("other"), "");
        _time.Advance(TimeSpan.FromDays(3));
        await WhileAnExportIsAboutToWriteItsListAsync(type, "again", async () =>
        {
            await ExportAsync(type, await _kit.BranchAsync("young"), "");
            // The first takes the name away and leaves the layer, the second finds a layer that nothing names.
            var limits = new CacheLimits(TimeSpan.FromDays(1), null);
            Assert.Empty((await PruneAsync(type, limits)).Removed);
            await PruneAsync(type, limits);
        });
        var there = await ReadAsync(type);
        Assert.Equal(["again", "young"], Steps(there, "again", "young"));
        // A store without conditions takes the list as it was made before the pruning: steps whose layers are gone are executed.
        var lost = await CacheVerification.RunAsync(there, null, default);
        Assert.Equal(knowsConditions ? [] : [_kit.Layer("other", LayerSize).Digest], lost.Select(layer => layer.Layer.Digest));
    }

    [Theory]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task A_layer_that_is_made_young_between_the_list_of_layers_and_its_removal_stays(string type)
    {
        _store.KnowsConditions = true;
        await MergeKit.ExportAsync(type, Attributes(type), await _kit.BranchAsync("again"), _time);
        await MergeKit.ExportAsync(type, Attributes(type), await _kit.BranchAsync("other"), _time);
        _time.Advance(TimeSpan.FromDays(3));
        var isDone = false;
        _store.Before = async context =>
        {
            // The layers were listed, then the configs are. As an export would that has not written its list yet.
            var query = Uri.UnescapeDataString(context.Request.QueryString.Value!);
            if (!isDone && query.Contains("prefix=manifests", StringComparison.Ordinal))
            {
                isDone = true;
                using var client = new HttpClient();
                foreach (var key in _store.Objects.Keys.Where(key => key.Contains("blobs", StringComparison.Ordinal)))
                    (await client.SendAsync(new HttpRequestMessage(HttpMethod.Put, new Uri($"http://{_store.Host}{key}?comp=metadata")))).EnsureSuccessStatusCode();
            }
            return false;
        };
        Assert.Empty((await PruneAsync(type, CacheLimits.None)).Removed);
        Assert.True(isDone);
        Assert.Equal(3, Layers(type));
    }

    [Fact]
    public async Task A_directory_whose_layer_is_gone_when_its_index_changes_names_it_no_more()
    {
        await ExportAsync("local", await _kit.BranchAsync("a"), "");
        var cache = await _kit.BranchAsync("b");
        var directory = new MergeDirectory(_directory);
        var attributes = StoreKit.Attributes($"dest={_directory},merge=true");
        var context = StoreKit.Context(time: _time) with { OpenClientStore = (_, _) => Task.FromResult<IClientContentStore?>(directory) };
        var answer = await (await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("local", attributes, context, default)).WriteAsync(cache, StoreKit.Progress(), default);
        File.Delete(directory.Layout.BlobPath(_kit.Layer("b", LayerSize).Digest));
        var manifest = Descriptor.Parse(System.Text.Encoding.UTF8.GetBytes(answer["cache.manifest"]));
        await directory.Layout.ChangeTagAsync("latest", async current =>
            await BuildKit.RemoteCache.Backends.Local.LocalCacheMerge.JoinAsync(directory.Layout, current, manifest, attributes, _time, default), default);
        var there = await ReadAsync("local");
        Assert.Equal(["a"], Steps(there, "a", "b"));
        Assert.Empty(await CacheVerification.RunAsync(there, null, default));
    }

    private Task<CachePruning> PruneAsync(string type, CacheLimits limits) =>
        Tools.PruneAsync(new CacheLocation(type, Attributes(type)), new CachePruneRequest(limits, TimeSpan.FromHours(1)), default);

    private async Task AssertUsableAsync(string type, params string[] names)
    {
        var there = await ReadAsync(type);
        Assert.Equal(names, Steps(there, names));
        Assert.Empty(await CacheVerification.RunAsync(there, null, default));
    }

    /// <summary>Starts an export, holds its first writing of a list, does something, and lets it go on.</summary>
    private async Task WhileAnExportIsAboutToWriteItsListAsync(string type, string branch, Func<Task> meanwhile)
    {
        var (arrived, release) = (new TaskCompletionSource(), new TaskCompletionSource());
        var isHeld = 0;
        _store.Before = async context =>
        {
            var path = Uri.UnescapeDataString(context.Request.Path.Value!);
            if (context.Request.Method == "PUT" && path.EndsWith("manifests/buildkit", StringComparison.Ordinal) && Interlocked.Exchange(ref isHeld, 1) == 0)
            {
                arrived.SetResult();
                await release.Task;
            }
            return false;
        };
        var export = ExportAsync(type, await _kit.BranchAsync(branch), "");
        await arrived.Task;
        await meanwhile();
        release.SetResult();
        await export;
    }
}
