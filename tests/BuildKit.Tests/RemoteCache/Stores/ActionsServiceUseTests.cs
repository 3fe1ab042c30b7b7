using System.Text;
using BuildKit.IntegrationTests.Support;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Transfer;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>The gha cache on a service that is busy, forgets, answers late or is written by others at the same time.</summary>
public sealed class ActionsServiceUseTests : IAsyncLifetime
{
    private const string Version = "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2";
    private const string Index = "index-buildkit-1-f921bd05";

    private readonly JumpingTime _time = new();
    private readonly SilentProgress _progress = new();
    private readonly CacheBackendRegistry _backends = CacheBackendRegistry.WithBuiltIns();
    private ActionsService _service = null!;
    private FaultProxy _proxy = null!;
    private string _token = "";

    public async Task InitializeAsync()
    {
        _service = await ActionsService.StartAsync();
        _proxy = await FaultProxy.StartAsync(_service.Host);
        _token = _service.IssueToken(("refs/heads/main", 3));
    }

    public async Task DisposeAsync()
    {
        await _proxy.DisposeAsync();
        await _service.DisposeAsync();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Refusals_double_the_wait_and_a_success_ends_it(int version)
    {
        _proxy.Inject(_ => true, new Fault.Answer(429, """{"message":"slow down"}"""), times: 4);
        await ExportAsync(version, 10);
        Assert.Equal([1, 2, 4, 8], Waits());
        _proxy.Inject(_ => true, new Fault.Answer(429), times: 1);
        await ImportAsync(version);
        Assert.Equal(1, Waits()[^1]);
    }

    [Fact]
    public async Task The_wait_the_service_asks_for_is_kept()
    {
        _proxy.Inject(_ => true, Fault.Answer.Busy(429, seconds: 7));
        await ExportAsync(1, 10);
        Assert.Equal([7], Waits());
    }

    [Theory]
    [InlineData(false, 63)]
    [InlineData(true, 60)]
    public async Task A_service_that_stays_busy_fails_the_export_after_the_timeout(bool asksForHalfAMinute, double waited)
    {
        _proxy.Inject(_ => true, new Fault.Answer(429, """{"message":"slow down"}""")
        {
            Headers = asksForHalfAMinute ? new Dictionary<string, string>(StringComparer.Ordinal) { ["Retry-After"] = "30" } : [],
        }, times: 1000);
        var thrown = await Assert.ThrowsAsync<TransferException>(() => ExportAsync(1, 10, "timeout=70s"));
        Assert.Equal("maximum timeout reached: slow down", thrown.Message);
        Assert.Equal(waited, Waits().Sum());
    }

    [Theory]
    [InlineData("\uFEFF{\"message\":\"no\",\"typeKey\":\"X\"}", "no")]
    [InlineData("{\"code\":\"permission_denied\",\"msg\":\"not you\"}", "permission_denied: not you")]
    [InlineData("{\"code\":\"permission_denied\"}", "permission_denied")]
    [InlineData("{\"other\":1}", "unknown error 403 Forbidden: {\"other\":1}")]
    [InlineData("<html>", "failed to parse error response 403: <html>")]
    public async Task Errors_of_the_service_are_told_in_its_words(string body, string error)
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Status(403);
            return context.Response.WriteAsync(body);
        });
        var import = await _backends.ResolveImporterAsync("gha", StoreKit.Attributes($"url=http://{stub.Host}/,token={_token}"), Context(), default);
        Assert.Equal(error, (await Assert.ThrowsAsync<TransferException>(() => import.ReadAsync(StoreKit.Progress(), default))).Message);
        Assert.Single(stub.Requests); // a refusal is not repeated
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task An_index_that_a_dead_job_reserved_is_waited_for_and_then_passed_over(int version)
    {
        await ExportAsync(version, 10);
        await ExportAsync(version, 10);
        _service.ReserveForDead("refs/heads/main", Index + "#3", Version);
        _proxy.Reset();
        await ExportAsync(version, 10);
        Assert.Equal($"refs/heads/main {Index}#4", _service.Entries[^1]);
        Assert.Equal(Enumerable.Repeat(2d, 8), Waits());
        // Nine times the third, then the fourth.
        var reserve = version == 1 ? "/caches" : "/CreateCacheEntry";
        Assert.Equal(10, _proxy.Requests.Count(r => r.Method == "POST" && r.Target.EndsWith(reserve, StringComparison.Ordinal)));
        Assert.Single(await ImportAsync(version));
    }

    [Fact]
    public async Task An_index_without_a_number_is_not_replaced()
    {
        await ExportAsync(2, 10);
        _service.Rename(Index + "#1", Index + "#");
        Assert.Equal($"corrupt empty index for {Index}", (await Assert.ThrowsAsync<RemoteCacheException>(() => ExportAsync(2, 10))).Message);
        _service.Rename(Index + "#", Index + "#x");
        Assert.Equal($"failed to parse {Index} index: strconv.Atoi: parsing \"x\": invalid syntax", (await Assert.ThrowsAsync<RemoteCacheException>(() => ExportAsync(2, 10))).Message);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_blob_that_another_job_is_writing_counts_as_written_and_is_no_hit_before_it_is(int version)
    {
        var (cache, blobs) = await StoreKit.CacheAsync(10, 20);
        _service.ReserveForDead("refs/heads/main", $"buildkit-blob-1-{blobs.Blobs.Keys.First()}", Version);
        await ExportAsync(version, cache);
        var graph = Assert.Single(await ImportAsync(version));
        Assert.Equal(1, await StoreKit.CountThereAsync(graph));
    }

    [Theory]
    [InlineData(1, "/caches")]
    [InlineData(2, "/CreateCacheEntry")]
    public async Task A_reservation_whose_answer_was_lost_fails_the_export(int version, string call)
    {
        _proxy.Inject(r => r.Method == "POST" && r.Target.EndsWith(call, StringComparison.Ordinal), new Fault.ResetAnswer(0));
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => ExportAsync(version, 10));
        Assert.Matches("^error writing layer blob: entry buildkit-blob-1-sha256:[0-9a-f]{64} may be reserved by an earlier attempt whose answer was lost: ", thrown.Message);
        Assert.Empty(_service.Entries);
    }

    [Fact]
    public async Task A_commit_whose_answer_was_lost_is_found_done()
    {
        _proxy.Inject(r => r.Target.EndsWith("/FinalizeCacheEntryUpload", StringComparison.Ordinal), new Fault.ResetAnswer(0));
        await ExportAsync(2, 10);
        Assert.Equal(0, _proxy.FaultsLeft);
        Assert.Equal(2, _service.Entries.Count);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task An_address_that_expired_is_asked_for_once_more(int version)
    {
        await ExportAsync(version, 1000);
        var layers = Assert.Single(Assert.Single(await ImportAsync(version)).SelectMany(n => n.Results)).Layers;
        Assert.NotNull(await layers.Provider.StatAsync(layers.Descriptors[0], default));
        _service.ExpireAddresses();
        await using var blob = await layers.Provider.OpenAsync(layers.Descriptors[0], 0, default);
        Assert.Equal(1000, await blob.ReadAtLeastAsync(new byte[1001], 1001, throwOnEndOfStream: false));
        _service.ExpireAddresses();
        _service.Evict(_ => true);
        await using var gone = await layers.Provider.OpenAsync(layers.Descriptors[0], 0, default);
        var thrown = await Assert.ThrowsAsync<TransferException>(() => gone.ReadAtLeastAsync(new byte[1], 1).AsTask());
        Assert.StartsWith("cache entry buildkit-blob-1-sha256:", thrown.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Each_layer_is_looked_up_once(int version)
    {
        await ExportAsync(version, 10, more: "", 20, 30);
        var graph = Assert.Single(await ImportAsync(version));
        _proxy.Reset();
        Assert.Equal(3, await StoreKit.CountThereAsync(graph));
        Assert.Equal(3, await StoreKit.CountThereAsync(graph));
        Assert.Equal(3, _proxy.Requests.Count);
    }

    [Fact]
    public async Task A_service_that_does_not_answer_is_given_up()
    {
        await ExportAsync(1, 10, more: "", 20, 30);
        var graph = Assert.Single(await ImportAsync(1));
        _proxy.Reset();
        _proxy.Inject(_ => true, new Fault.ResetRequest(0), times: 1000);
        var first = await Assert.ThrowsAsync<TransferException>(() => StoreKit.CountThereAsync(graph));
        var requests = _proxy.Requests.Count;
        var second = await Assert.ThrowsAsync<TransferException>(() => StoreKit.CountThereAsync(graph));
        Assert.Equal(first.Message, second.Message);
        Assert.Equal(requests, _proxy.Requests.Count);
        Assert.Equal(3, requests);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task The_indexes_of_all_scopes_are_read_and_a_harmed_one_does_not_take_the_others_away(int version)
    {
        await ExportAsync(version, 10);
        _token = _service.IssueToken(("refs/heads/feature", 3), ("refs/heads/main", 1));
        await ExportAsync(version, 20);
        Assert.Equal(2, (await ImportAsync(version)).Count);
        Assert.Empty(_progress.Warnings);
        _service.Replace($"index-buildkit-1-f04dcc3f#1", Encoding.UTF8.GetBytes("{\"layers\":[{\"blob\":\"sha256:1\",\"parent\":-1}]}"));
        Assert.Single(await ImportAsync(version));
        Assert.Equal("a part of the cache is not used: cache layer with missing annotations", Assert.Single(_progress.Warnings));
        _service.Evict(key => key.StartsWith(Index, StringComparison.Ordinal));
        Assert.Equal("cache layer with missing annotations", (await Assert.ThrowsAsync<RemoteCacheException>(() => ImportAsync(version))).Message);
    }

    private double[] Waits() => [.. _time.Waits.Select(w => Math.Round(w.TotalSeconds, 1))];

    private CacheBackendContext Context() => StoreKit.Context(time: _time);

    private Dictionary<string, string> Attributes(int version, string more)
    {
        var attributes = ActionsAttributeTests.Attributes(_service, version, _token, more);
        attributes[version == 1 ? "url" : "url_v2"] = $"http://{_proxy.Host}/";
        return attributes;
    }

    private async Task ExportAsync(int version, int size, string more = "", params int[] sizes) =>
        await ExportAsync(version, (await StoreKit.CacheAsync([size, .. sizes])).Cache, more);

    private async Task ExportAsync(int version, MarshalledCache cache, string more = "")
    {
        var export = await _backends.ResolveExporterAsync("gha", Attributes(version, more), Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(_progress), default);
    }

    private async Task<IReadOnlyList<IReadOnlyList<CacheNode>>> ImportAsync(int version) =>
        await (await _backends.ResolveImporterAsync("gha", Attributes(version, ""), Context(), default)).ReadAsync(StoreKit.Progress(_progress), default);
}
