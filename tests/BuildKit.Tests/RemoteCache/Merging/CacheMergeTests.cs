using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Config;
using BuildKit.RemoteCache.Merging;
using BuildKit.Tests.RemoteCache.Stores;
using BuildKit.Tests.Support;
using static BuildKit.Tests.RemoteCache.Merging.MergeKit;

namespace BuildKit.Tests.RemoteCache.Merging;

/// <summary>The union of caches and what limits leave of it.</summary>
public sealed class CacheMergeTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.Parse("2026-11-26T12:00:00Z", System.Globalization.CultureInfo.InvariantCulture);
    private static readonly MergeOptions Everything = new(CacheLimits.None);

    private readonly MergeKit _kit = new();

    private MemoryProvider Blobs => _kit.Blobs;

    private Task<MarshalledCache> BranchAsync(string name) => _kit.BranchAsync(name);

    private Descriptor Layer(string name, int size) => _kit.Layer(name, size);

    [Fact]
    public async Task The_union_has_what_each_has_and_shared_records_once()
    {
        var (a, b) = (await BranchAsync("a"), await BranchAsync("b"));
        var joined = await CacheMerge.JoinAsync(b, [a], Everything, Now, default);
        Assert.Equal(4, joined.Config.Records.Count);
        Assert.Equal(3, joined.Config.Layers.Count);
        Assert.Equal(["a", "b"], Steps(joined, "a", "b"));
        Assert.Equal(3, joined.Blobs.Count);
    }

    [Fact]
    public async Task The_order_of_writers_does_not_matter_and_repeating_changes_nothing()
    {
        var (a, b) = (await BranchAsync("a"), await BranchAsync("b"));
        var first = await CacheMerge.JoinAsync(a, [], Everything, Now, default);
        var ab = await CacheMerge.JoinAsync(b, [first], Everything, Now, default);
        var ba = await CacheMerge.JoinAsync(a, [await CacheMerge.JoinAsync(b, [], Everything, Now, default)], Everything, Now, default);
        Assert.Equal(ab.Config.ToJson(), ba.Config.ToJson());
        Assert.Equal(ab.Config.ToJson(), (await CacheMerge.JoinAsync(a, [ab], Everything, Now.AddMinutes(59), default)).Config.ToJson());
        Assert.NotEqual(ab.Config.ToJson(), (await CacheMerge.JoinAsync(a, [ab], Everything, Now.AddMinutes(61), default)).Config.ToJson());
    }

    [Fact]
    public async Task Readers_of_the_original_see_a_complete_cache()
    {
        var joined = await CacheMerge.JoinAsync(await BranchAsync("b"), [await BranchAsync("a")], Everything, Now, default);
        var json = System.Text.Encoding.UTF8.GetString(joined.Config.ToJson());
        Assert.Contains("\"usedAt\":\"2026-11-26T12:00:00Z\"", json, StringComparison.Ordinal);
        // Without the keys they do not know: the same graph.
        var plain = joined.Config with { Records = [.. joined.Config.Records.Select(record => record with { UsedAt = null })] };
        var graph = CacheParser.Parse(plain, joined.Blobs);
        Assert.Equal(plain.ToJson(), (await CacheMarshaller.MarshalAsync(graph, default)).Config.ToJson());
    }

    [Fact]
    public async Task A_golden_cache_joined_with_itself_keeps_its_records_layers_and_links()
    {
        var index = ImageIndex.Parse(await File.ReadAllBytesAsync(Golden.Path("cache", "v0.20.0", "local-max", "dir", "index.json")));
        var blob = (Digest digest) => File.ReadAllBytes(Golden.Path("cache", "v0.20.0", "local-max", "dir", "blobs", "sha256", digest.Hex));
        var manifest = ImageIndex.Parse(blob(index.Manifests[0].Digest));
        var config = CacheConfig.Parse(blob(manifest.Manifests[^1].Digest));
        var cache = new MarshalledCache(config, manifest.Manifests.SkipLast(1).DistinctBy(l => l.Digest).ToDictionary(l => l.Digest, l => new LayerBlob(l, Blobs)));
        var joined = await CacheMerge.JoinAsync(cache, [cache], Everything, Now, default);
        var plain = joined.Config with { Records = [.. joined.Config.Records.Select(record => record with { UsedAt = null })] };
        Assert.Equal(config.Records.Select(record => record.Digest), plain.Records.Select(record => record.Digest));
        Assert.Equal(config.Layers.Select(layer => layer.Blob), plain.Layers.Select(layer => layer.Blob));
        Assert.Equal(config.ToJson().Length, plain.ToJson().Length);
    }

    [Fact]
    public async Task Use_counts_not_age_and_the_own_export_stays()
    {
        var shared = await CacheMerge.JoinAsync(await BranchAsync("old"), [], Everything, Now.AddDays(-4), default);
        shared = await CacheMerge.JoinAsync(await BranchAsync("used"), [shared], Everything, Now.AddDays(-1), default);
        var options = new MergeOptions(new CacheLimits(TimeSpan.FromHours(72), null));
        var joined = await CacheMerge.JoinAsync(await BranchAsync("own"), [shared], options, Now, default);
        Assert.Equal(["used", "own"], Steps(joined, "old", "used", "own"));
        Assert.DoesNotContain(joined.Config.Records, record => record.Digest == Digest.Sha256("step old"));
        Assert.DoesNotContain(joined.Blobs.Keys, digest => digest == Layer("old", 1000).Digest);
    }

    [Fact]
    public async Task What_was_used_longest_ago_goes_when_the_layers_are_too_many()
    {
        MarshalledCache? shared = null;
        foreach (var (name, days) in new[] { ("a", 5), ("b", 3), ("c", 1) })
            shared = await CacheMerge.JoinAsync(await BranchAsync(name), shared is null ? [] : [shared], Everything, Now.AddDays(-days), default);
        var joined = await CacheMerge.JoinAsync(await BranchAsync("d"), [shared!], new MergeOptions(new CacheLimits(null, 3500)), Now, default);
        Assert.Equal(["b", "c", "d"], Steps(joined, "a", "b", "c", "d"));
        Assert.True(joined.Blobs.Values.Sum(blob => blob.Descriptor.Size) <= 3500);
        var alone = await CacheMerge.JoinAsync(await BranchAsync("d"), [shared!], new MergeOptions(new CacheLimits(null, 10)), Now, default);
        Assert.Equal(["d"], Steps(alone, "a", "b", "c", "d"));
    }

    [Fact]
    public async Task A_config_that_importers_would_refuse_loses_what_was_used_longest_ago()
    {
        MarshalledCache? shared = null;
        for (var i = 0; i < 20; i++)
            shared = await CacheMerge.JoinAsync(await BranchAsync("step" + i), shared is null ? [] : [shared], Everything, Now.AddHours(-40 + i), default);
        var joined = await CacheMerge.JoinAsync(await BranchAsync("own"), [shared!], new MergeOptions(CacheLimits.None, 4096), Now, default);
        Assert.InRange(joined.Config.ToJson().Length, 1000, 4096);
        Assert.Equal(["step19", "own"], Steps(joined, "step0", "step19", "own"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Concurrent_writers_into_a_bucket_lose_nothing(bool knowsConditions)
    {
        await using var store = await MemoryStore.StartAsync();
        store.KnowsConditions = knowsConditions;
        var registry = CacheBackendRegistry.WithBuiltIns();
        var attributes = StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s,merge=true", store.Host);
        string[] names = [.. Enumerable.Range(0, 8).Select(i => "w" + i)];
        var caches = await Task.WhenAll(names.Select(name => BranchAsync(name)));
        await Task.WhenAll(caches.Select(async cache =>
            await (await registry.ResolveExporterAsync("s3", attributes, StoreKit.Context(), default)).WriteAsync(cache, StoreKit.Progress(), default)));
        Assert.Equal(knowsConditions ? 0 : 8, store.Objects.Keys.Count(key => key.Contains(".parts/", StringComparison.Ordinal)));
        var import = await registry.ResolveImporterAsync("s3", attributes, StoreKit.Context(), default);
        var read = await CacheMarshaller.MarshalAsync(Assert.Single(await import.ReadAsync(StoreKit.Progress(), default)), default);
        Assert.Equal(names, Steps(read, names));
        // One more export brings everything into the object that every reader knows.
        await (await registry.ResolveExporterAsync("s3", attributes, StoreKit.Context(), default)).WriteAsync(caches[0], StoreKit.Progress(), default);
        var plain = CacheConfig.Parse(store.Objects["/b/manifests/buildkit"]);
        Assert.All(names, name => Assert.Contains(plain.Records, record => record.Digest == Digest.Sha256("step " + name)));
    }

    [Fact]
    public async Task A_store_that_replaces_under_conditions_but_makes_without_gets_parts()
    {
        await using var store = await MemoryStore.StartAsync();
        store.KnowsConditions = true;
        store.Before = context =>
        {
            context.Request.Headers.IfNoneMatch = default;
            return Task.FromResult(false);
        };
        var attributes = StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s,merge=true", store.Host);
        string[] names = ["a", "b", "c"];
        await Task.WhenAll(names.Select(async name => await ExportAsync("s3", attributes, await BranchAsync(name), TimeProvider.System)));
        Assert.Equal(names, Steps(await ImportAsync("s3", attributes, TimeProvider.System), names));
        Assert.NotEmpty(store.Objects.Keys.Where(key => key.Contains(".parts/", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Parts_that_the_list_contains_are_not_read_again()
    {
        await using var store = await MemoryStore.StartAsync();
        var attributes = StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s,merge=true", store.Host);
        for (var i = 0; i < 10; i++)
        {
            store.Requests.Clear();
            await ExportAsync("s3", attributes, await BranchAsync("w" + i), TimeProvider.System);
            Assert.Empty(store.Requests.Where(request => request.StartsWith("GET", StringComparison.Ordinal) && request.Contains(".parts/", StringComparison.Ordinal) && !request.Contains("prefix", StringComparison.Ordinal)));
        }
        // An older list comes back, as when a writer had stalled: those parts it does not contain are read.
        var lists = store.Objects.Where(o => o.Key.Contains(".parts/", StringComparison.Ordinal)).ToList();
        var first = lists.First(o => CacheConfig.Parse(o.Value).Records.Any(record => record.Digest == Digest.Sha256("step w0")));
        var old = CacheConfig.Parse(first.Value) with { Parts = [first.Key[(first.Key.LastIndexOf('/') + 1)..]] };
        store.Objects["/b/manifests/buildkit"] = old.ToJson();
        store.Requests.Clear();
        string[] names = [.. Enumerable.Range(0, 10).Select(i => "w" + i)];
        Assert.Equal(names, Steps(await ImportAsync("s3", attributes, TimeProvider.System), names));
        Assert.Equal(9, store.Requests.Count(request => request.StartsWith("GET", StringComparison.Ordinal) && request.Contains(".parts/", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Concurrent_writers_into_the_actions_cache_lose_nothing(int version)
    {
        await using var service = await BuildKit.IntegrationTests.Support.ActionsService.StartAsync();
        var attributes = StoreKit.Attributes($"{(version == 1 ? "url" : "url_v2")}=http://@/,token={service.IssueToken(("refs/heads/main", 3))},merge=true", service.Host);
        string[] names = [.. Enumerable.Range(0, 8).Select(i => "w" + i)];
        await Task.WhenAll(names.Select(async name => await ExportAsync("gha", attributes, await BranchAsync(name), TimeProvider.System)));
        Assert.Equal(names, Steps(await ImportAsync("gha", attributes, TimeProvider.System), names));
        Assert.Contains("refs/heads/main index-buildkit-1-f921bd05#8", service.Entries);
        // Nothing new, nothing written.
        await ExportAsync("gha", attributes, await BranchAsync("w3"), TimeProvider.System);
        Assert.Equal("refs/heads/main index-buildkit-1-f921bd05#8", service.Entries[^1]);
    }

    [Fact]
    public async Task A_number_that_a_dead_writer_reserved_is_passed_over_and_a_late_one_is_joined()
    {
        await using var service = await BuildKit.IntegrationTests.Support.ActionsService.StartAsync();
        await using var proxy = await BuildKit.IntegrationTests.Support.FaultProxy.StartAsync(service.Host);
        var time = new JumpingTime();
        var token = service.IssueToken(("refs/heads/main", 3));
        var attributes = StoreKit.Attributes($"url=http://@/,token={token},merge=true", service.Host);
        await ExportAsync("gha", attributes, await BranchAsync("a"), time);
        service.ReserveForDead("refs/heads/main", "index-buildkit-1-f921bd05#2", "693bb7016429d80366022f036f84856888c9f13e00145f5f6f4dce303a38d6f2");
        await ExportAsync("gha", attributes, await BranchAsync("b"), time);
        Assert.Equal("refs/heads/main index-buildkit-1-f921bd05#3", service.Entries[^1]);
        Assert.InRange(time.Waits.Aggregate(TimeSpan.Zero, (sum, wait) => sum + wait), TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(40));

        // A writer that is so slow to send its list that others overtake it joins what they wrote.
        var isSlow = false;
        using var client = new HttpClient();
        await using var slow = await BuildKit.Tests.Registry.StubServer.StartAsync(async (context, _) =>
        {
            var target = $"{context.Request.Path}{context.Request.QueryString}";
            if (!isSlow && context.Request.Method == "PATCH" && service.IsAbout(new("PATCH", target), key => key.StartsWith("index-", StringComparison.Ordinal)))
            {
                isSlow = true;
                time.Advance(TimeSpan.FromSeconds(20));
                await ExportAsync("gha", attributes, await BranchAsync("quick"), time);
            }
            await ForwardAsync(client, context, $"http://{service.Host}{target}");
        });
        await ExportAsync("gha", StoreKit.Attributes($"url=http://@/,token={token},merge=true", slow.Host), await BranchAsync("slow"), time);
        Assert.True(isSlow);
        Assert.Equal(["a", "b", "slow", "quick"], Steps(await ImportAsync("gha", attributes, time), "a", "b", "slow", "quick"));
    }

    private static async Task ForwardAsync(HttpClient client, Microsoft.AspNetCore.Http.HttpContext context, string url)
    {
        using var message = new HttpRequestMessage(new HttpMethod(context.Request.Method), url) { Content = new StreamContent(context.Request.Body) };
        foreach (var (name, values) in context.Request.Headers.Where(header => header.Key is not ("Transfer-Encoding" or "Connection")))
        {
            if (!message.Headers.TryAddWithoutValidation(name, (IEnumerable<string>)values.ToArray()!))
                message.Content.Headers.TryAddWithoutValidation(name, (IEnumerable<string>)values.ToArray()!);
        }
        using var answer = await client.SendAsync(message);
        context.Response.StatusCode = (int)answer.StatusCode;
        var body = await answer.Content.ReadAsByteArrayAsync();
        if (body.Length > 0)
            await Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, System.Text.Encoding.UTF8.GetString(body));
    }

    [Fact]
    public async Task Parts_go_an_hour_after_they_were_written()
    {
        await using var store = await MemoryStore.StartAsync();
        var registry = CacheBackendRegistry.WithBuiltIns();
        var attributes = StoreKit.Attributes("bucket=b,region=r,endpoint_url=http://@,use_path_style=true,access_key_id=i,secret_access_key=s,merge=true", store.Host);
        async Task ExportAsync(string name) =>
            await (await registry.ResolveExporterAsync("s3", attributes, StoreKit.Context(), default)).WriteAsync(await BranchAsync(name), StoreKit.Progress(), default);
        await ExportAsync("a");
        await ExportAsync("b");
        Assert.Equal(2, store.Objects.Keys.Count(key => key.Contains(".parts/", StringComparison.Ordinal)));
        store.Age = TimeSpan.FromHours(2);
        await ExportAsync("c");
        Assert.Empty(store.Objects.Keys.Where(key => key.Contains(".parts/", StringComparison.Ordinal)));
        var import = await registry.ResolveImporterAsync("s3", attributes, StoreKit.Context(), default);
        Assert.Equal(["a", "b", "c"], Steps(await CacheMarshaller.MarshalAsync(Assert.Single(await import.ReadAsync(StoreKit.Progress(), default)), default), "a", "b", "c"));
    }

    private CacheMountLayer Mount(string id, string content, int size = 500) => CacheMountLayer.Of(id, Layer(content, size), Blobs);

    [Fact]
    public async Task A_config_with_mounts_is_the_same_cache_for_those_who_know_none()
    {
        var plain = await BranchAsync("a");
        var cache = plain.With([Mount("/go", "go files"), Mount("/npm", "npm files")]);
        var json = cache.Config.ToJson();
        var read = CacheConfig.Parse(json);
        Assert.Equal(["/go", "/npm"], read.Mounts.Select(mount => mount.Id));
        Assert.Equal(cache.Config.Mounts[0], read.Mounts[0]);
        Assert.Equal(json, read.ToJson());
        // The key at the end is all that differs, and no record or layer entry refers to it.
        var text = System.Text.Encoding.UTF8.GetString(json);
        var known = System.Text.Encoding.UTF8.GetString(plain.Config.ToJson());
        Assert.StartsWith(known[..^1] + ",\"mounts\":[", text, StringComparison.Ordinal);
        Assert.DoesNotContain(read.Layers, layer => read.Mounts.Any(mount => mount.Blob == layer.Blob));
        Assert.Equal(known, System.Text.Encoding.UTF8.GetString((await CacheMarshaller.MarshalAsync(CacheParser.Parse(read, cache.Blobs), default)).Config.ToJson()));
    }

    [Fact]
    public async Task Mounts_join_by_their_ids_and_age_like_results()
    {
        var first = (await BranchAsync("a")).With([Mount("/go", "old go"), Mount("/npm", "npm")]);
        var shared = await CacheMerge.JoinAsync(first, [], Everything, Now.AddDays(-4), default);
        shared = await CacheMerge.JoinAsync((await BranchAsync("b")).With([Mount("/go", "new go")]), [shared], Everything, Now.AddDays(-1), default);
        Assert.Equal(["/go", "/npm"], shared.Config.Mounts.Select(mount => mount.Id));
        Assert.Equal(Mount("/go", "new go").Mount.Blob, shared.Config.Mounts[0].Blob);
        Assert.All(shared.Config.Mounts, mount => Assert.Contains(mount.Blob, shared.Layers));
        var young = await CacheMerge.JoinAsync(await BranchAsync("c"), [shared], new MergeOptions(new CacheLimits(TimeSpan.FromHours(72), null)), Now, default);
        Assert.Equal(["/go"], young.Config.Mounts.Select(mount => mount.Id));
        var small = await CacheMerge.JoinAsync(await BranchAsync("c"), [shared], new MergeOptions(new CacheLimits(null, 1200)), Now, default);
        Assert.Empty(small.Config.Mounts);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Layers_of_mounts_are_named_by_the_manifest_so_that_the_store_keeps_them(bool asImage)
    {
        var cache = (await BranchAsync("a")).With([Mount("/go", "go files")]);
        var document = BuildKit.RemoteCache.Backends.Manifests.ManifestDocument.Of(cache, oci: true, asImage);
        var text = System.Text.Encoding.UTF8.GetString(document.ManifestJson);
        Assert.Contains(cache.Config.Mounts[0].Blob.ToString(), text, StringComparison.Ordinal);
        Assert.Equal(3, System.Text.RegularExpressions.Regex.Matches(text, "containerd.io/uncompressed").Count);
    }

    [Theory]
    [InlineData("true", true, true)]
    [InlineData("false", false, false)]
    [InlineData("go;npm", true, false)]
    [InlineData("/go", true, false)]
    [InlineData("pip", false, true)]
    public void Mounts_are_selected_by_id(string attribute, bool go, bool pip)
    {
        var selection = CacheMountSelection.Read(new Dictionary<string, string>(StringComparer.Ordinal) { ["cache-mounts"] = attribute });
        Assert.Equal((go, pip), (selection?.Includes("namespace/go") ?? false, selection?.Includes("/pip") ?? false));
    }
}
