using System.Text;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>The stand-in for GitHub's cache service behind a proxy, and a second daemon that has nothing of the first.</summary>
public sealed class ActionsFixture : IAsyncLifetime
{
    public BuildFixture Build { get; } = new();

    public ActionsService Service { get; private set; } = null!;

    public FaultProxy Proxy { get; private set; } = null!;

    public DaemonProcess Second { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(BuildFixture.Needs) is not null)
            return; // every test of the class is skipped for the same reason
        await Build.InitializeAsync();
        Service = await ActionsService.StartAsync();
        Proxy = await FaultProxy.StartAsync(Service.Host);
        Second = await DaemonProcess.StartAsync();
    }

    public async Task DisposeAsync()
    {
        foreach (var part in new IAsyncDisposable?[] { Second, Proxy, Service })
        {
            if (part is not null)
                await part.DisposeAsync();
        }
        await Build.DisposeAsync();
    }
}

/// <summary>Caches in GitHub's cache service: what one job exports another one uses, also over a bad service.</summary>
public sealed class ActionsCacheTests : IClassFixture<ActionsFixture>, IAsyncLifetime
{
    private readonly ActionsFixture _fixture;
    private readonly string _scope = Guid.NewGuid().ToString("N");

    public ActionsCacheTests(ActionsFixture fixture) => _fixture = fixture;

    private ActionsService Service => _fixture.Service;

    private FaultProxy Proxy => _fixture.Proxy;

    private string Cache => $"type=gha,scope={_scope}";

    public Task InitializeAsync()
    {
        Proxy?.Reset();
        return Task.CompletedTask;
    }

    public Task DisposeAsync() => Task.CompletedTask;

    [EndToEndTheory]
    [InlineData(1, "min", "gzip")]
    [InlineData(1, "max", "zstd")]
    [InlineData(2, "min", "zstd")]
    [InlineData(2, "max", "gzip")]
    public async Task A_second_empty_daemon_executes_nothing(int version, string mode, string compression)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var token = Service.IssueToken(("refs/heads/main", 3));
        var first = (await First(version, token).BuildAsync(context, "--export-cache", $"{Cache},mode={mode},compression={compression},force-compression=true", "--output", $"type=local,dest={temp.Path}/first")).Succeeded();
        Assert.Equal(5, first.Trace.Executed.Count);
        Assert.Single(first.Trace.Vertices, v => v.Name == "exporting to GitHub Actions Cache");
        Assert.Contains(first.Trace.Statuses, s => s.StartsWith("writing layer sha256:", StringComparison.Ordinal));
        var index = Encoding.UTF8.GetString(Service.Newest(IsIndex)!);
        Assert.Equal(index.Split("\"mediaType\":").Length, index.Split($"\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+{compression}\"").Length);
        Assert.Equal($"refs/heads/main index-{_scope}-1-f921bd05#1", Service.Entries[^1]);
        Assert.All(Proxy.Requests, r => Assert.Equal(version == 1, r.Target.StartsWith("/_apis/artifactcache/", StringComparison.Ordinal)));

        var second = (await (await SecondAsync(version, token)).BuildAsync(context, "--import-cache", Cache, "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
        Assert.Empty(second.Trace.Executed);
        Assert.Empty(second.Trace.Warnings);
        foreach (var file in new[] { "random", "result.txt" })
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first/app/{file}"), await File.ReadAllBytesAsync($"{temp.Path}/second/app/{file}"));

        context.Write("Dockerfile", (await File.ReadAllTextAsync(context["Dockerfile"])).Replace("/random /app/", "/random /moved/", StringComparison.Ordinal));
        var changed = (await (await SecondAsync(version, token)).BuildAsync(context, "--import-cache", Cache)).Succeeded();
        Assert.Equal(mode == "max" ? 1 : 4, changed.Trace.Executed.Count);
    }

    [EndToEndTheory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_branch_reads_its_parents_cache_and_writes_its_own(int version)
    {
        using var context = Context();
        var (main, feature) = (Service.IssueToken(("refs/heads/main", 3)), Service.IssueToken(("refs/heads/feature", 3), ("refs/heads/main", 1)));
        (await First(version, main).BuildAsync(context, "--export-cache", Cache + ",mode=max")).Succeeded();
        // Everything of the parent is found, and what the branch adds is its own.
        context.Write("Dockerfile", await File.ReadAllTextAsync(context["Dockerfile"]) + $"\nRUN echo {Guid.NewGuid():N} > /more\n");
        var branch = (await (await SecondAsync(version, feature)).BuildAsync(context, "--import-cache", Cache, "--export-cache", Cache + ",mode=max")).Succeeded();
        Assert.Single(branch.Trace.Executed);
        Assert.Equal($"refs/heads/feature index-{_scope}-1-f04dcc3f#1", Service.Entries[^1]);
        Assert.Equal(2, Service.Entries.Count(e => e.Contains(_scope, StringComparison.Ordinal)));
        Assert.Empty((await (await SecondAsync(version, feature)).BuildAsync(context, "--import-cache", Cache)).Succeeded().Trace.Executed);
        Assert.Single((await (await SecondAsync(version, main)).BuildAsync(context, "--import-cache", Cache)).Succeeded().Trace.Executed);
        Assert.Equal(6, (await (await SecondAsync(version, main)).BuildAsync(context, "--import-cache", $"type=gha,scope={Guid.NewGuid():N}")).Succeeded().Trace.Executed.Count);
    }

    [EndToEndTheory]
    [InlineData(1, "error writing layer blob: The token has no scope that may be written.")]
    [InlineData(2, "error writing layer blob: permission_denied: the token has no scope that may be written")]
    public async Task A_token_that_may_only_read_imports_and_does_not_export(int version, string error)
    {
        using var context = Context();
        var (writer, reader) = (Service.IssueToken(("refs/heads/main", 3)), Service.IssueToken(("refs/heads/main", 1)));
        (await First(version, writer).BuildAsync(context, "--export-cache", Cache + ",mode=max")).Succeeded();
        var second = await SecondAsync(version, reader);
        Assert.Empty((await second.BuildAsync(context, "--import-cache", Cache)).Succeeded().Trace.Executed);
        context.Write("Dockerfile", await File.ReadAllTextAsync(context["Dockerfile"]) + $"\nRUN echo {Guid.NewGuid():N} > /more\n");
        var refused = await second.BuildPlainAsync(context, "--export-cache", Cache);
        refused.Failed();
        Assert.Contains(error, refused.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(reader, refused.Errors, StringComparison.Ordinal);
        Assert.Contains(error, (await second.BuildPlainAsync(context, "--export-cache", Cache + ",ignore-error=true")).Succeeded().Errors, StringComparison.Ordinal);
        Assert.Single(Service.Entries, e => e.Contains(_scope, StringComparison.Ordinal));
    }

    [EndToEndTheory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_repeated_export_uploads_no_layer_and_writes_the_next_index(int version)
    {
        using var context = Context();
        var client = First(version, Service.IssueToken(("refs/heads/main", 3)));
        (await client.BuildAsync(context, "--export-cache", Cache + ",mode=max")).Succeeded();
        var entries = Service.Entries.Count;
        var again = (await client.BuildAsync(context, "--export-cache", Cache + ",mode=max")).Succeeded();
        Assert.Empty(again.Trace.Executed);
        Assert.DoesNotContain(again.Trace.Statuses, s => s.StartsWith("writing layer", StringComparison.Ordinal));
        Assert.Equal(entries + 1, Service.Entries.Count);
        Assert.Equal($"refs/heads/main index-{_scope}-1-f921bd05#2", Service.Entries[^1]);
    }

    [EndToEndTheory]
    [InlineData(1, 34, "PATCH", "/caches/", 2)]
    [InlineData(2, 5, "PUT", "comp=block&", 5)]
    public async Task A_large_layer_goes_in_parts(int version, int megabytes, string method, string target, int parts)
    {
        using var context = OneStep($"head -c {megabytes}000000 /dev/urandom > /big");
        var token = Service.IssueToken(("refs/heads/main", 3));
        (await First(version, token).BuildAsync(context, "--export-cache", Cache + ",compression=uncompressed,force-compression=true")).Succeeded();
        var sent = Proxy.Requests.Where(r => r.Method == method && (r.Target + "&").Contains(target, StringComparison.Ordinal)).GroupBy(r => r.Target.Split('?')[0]).Select(g => g.Count());
        Assert.Contains(parts, sent);
        using var temp = new TempDirectory();
        Assert.Empty((await (await SecondAsync(version, token)).BuildAsync(context, "--import-cache", Cache, "--output", $"type=oci,dest={temp.Path}/image.tar")).Succeeded().Trace.Executed);
        Assert.True(new FileInfo($"{temp.Path}/image.tar").Length > megabytes * 1_000_000);
    }

    [EndToEndTheory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_bad_download_goes_on_until_the_layer_is_whole(int version)
    {
        using var context = OneStep("head -c 300000 /dev/urandom > /data");
        using var temp = new TempDirectory();
        var token = Service.IssueToken(("refs/heads/main", 3));
        (await First(version, token).BuildAsync(context, "--export-cache", Cache, "--output", $"type=local,dest={temp.Path}/first")).Succeeded();
        foreach (var fault in new Fault[]
        {
            // Both layers are read at once; which of them meets which fault does not matter.
            new Fault.ResetAnswer(100_000), new Fault.Truncate(150_000), Fault.Answer.Busy(503, seconds: 1), Fault.Answer.Busy(429, seconds: 1), new Fault.Stall(100_000),
        })
        {
            Proxy.Inject(IsBlobRead, fault);
        }
        var isCall = version == 1 ? "/cache?keys=buildkit-blob" : "/GetCacheEntryDownloadURL";
        Proxy.Inject(r => r.Target.Contains(isCall, StringComparison.Ordinal), Fault.Answer.Busy(429, seconds: 1), times: 2);
        var build = (await (await SecondAsync(version, token)).BuildAsync(context, "--import-cache", Cache + ",timeout=4s", "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
        Assert.Empty(build.Trace.Executed);
        Assert.Empty(build.Trace.Warnings);
        Assert.Equal(0, Proxy.FaultsLeft);
        Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first/data"), await File.ReadAllBytesAsync($"{temp.Path}/second/data"));
    }

    [EndToEndTheory]
    [InlineData(1, "evicted", "is gone")]
    [InlineData(2, "evicted", "is gone")]
    [InlineData(1, "harmed", "unexpected commit digest")]
    [InlineData(2, "harmed", "unexpected commit digest")]
    [InlineData(2, "reset", "connection reset by peer")]
    [InlineData(1, "stalled", "no answer within 5 s")]
    [InlineData(2, "gone at the last moment", "BlobNotFound")]
    [InlineData(1, "busy lookups", "maximum timeout reached")]
    public async Task A_layer_that_cannot_be_had_is_a_miss_with_a_warning(int version, string what, string warning)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var token = Service.IssueToken(("refs/heads/main", 3));
        (await First(version, token).BuildAsync(context, "--export-cache", Cache + ",mode=max", "--output", $"type=local,dest={temp.Path}/first")).Succeeded();
        var second = await SecondAsync(version, token);
        switch (what)
        {
            case "evicted": Service.Evict(key => key.StartsWith("buildkit-blob-", StringComparison.Ordinal)); break;
            case "harmed": Proxy.Inject(IsBlobRead, new Fault.Corrupt(20), times: 1000); break;
            case "reset": Proxy.Inject(IsBlobRead, new Fault.ResetAnswer(0), times: 1000); break;
            case "stalled": Proxy.Inject(IsBlobRead, new Fault.Stall(0), times: 1000); break;
            case "busy lookups": Proxy.Inject(r => r.Target.Contains("keys=buildkit-blob", StringComparison.Ordinal), Fault.Answer.Busy(429, seconds: 2), times: 1000); break;
            default:
                Proxy.Inject(IsBlobRead, new Fault.Answer(404) { Headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["x-ms-error-code"] = "BlobNotFound" } }, times: 1000);
                break;
        }
        var build = (await second.BuildAsync(context, "--import-cache", Cache + ",timeout=1s", "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
        Assert.Contains(build.Trace.Warnings, w => w.Contains(warning, StringComparison.Ordinal));
        Assert.Equal(build.Trace.Warnings.Distinct().Count(), build.Trace.Warnings.Count);
        Assert.NotEqual(await File.ReadAllTextAsync($"{temp.Path}/first/app/random"), await File.ReadAllTextAsync($"{temp.Path}/second/app/random"));
        if (what == "busy lookups")
            await Task.Delay(2000); // the daemon leaves the service alone as long as that asked
    }

    [EndToEndTheory]
    [InlineData(1, "truncated", "invalid cache config")]
    [InlineData(2, "truncated", "invalid cache config")]
    [InlineData(1, "unavailable", "failed to parse error response 503")]
    [InlineData(2, "unavailable", "failed to parse error response 503")]
    [InlineData(2, "unauthorized", "unauthenticated: invalid token")]
    public async Task An_index_that_cannot_be_had_shows_in_the_import_and_everything_is_executed(int version, string what, string error)
    {
        using var context = OneStep("true");
        var token = Service.IssueToken(("refs/heads/main", 3));
        (await First(version, token).BuildAsync(context, "--export-cache", Cache)).Succeeded();
        var second = await SecondAsync(version, what == "unauthorized" ? Foreign() : token);
        if (what == "truncated")
            Proxy.Inject(r => r.Method == "GET" && Service.IsAbout(r, IsIndex), new Fault.Truncate(30), times: 10);
        else if (what == "unavailable")
            Proxy.Inject(_ => true, new Fault.Answer(503), times: 10);
        var build = (await second.BuildAsync(context, "--import-cache", Cache)).Succeeded();
        Assert.Single(build.Trace.Executed);
        Assert.Empty(build.Trace.Warnings);
        var failed = Assert.Single(build.Trace.Vertices, v => v.Error.Length > 0);
        Assert.StartsWith("importing cache manifest from gha:", failed.Name, StringComparison.Ordinal);
        Assert.StartsWith("failed to configure gha cache importer: ", failed.Error, StringComparison.Ordinal);
        Assert.Contains(error, failed.Error, StringComparison.Ordinal);
    }

    [EndToEndTheory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_bad_upload_is_repeated(int version)
    {
        using var context = OneStep("head -c 3000000 /dev/urandom > /data");
        var token = Service.IssueToken(("refs/heads/main", 3));
        Proxy.Inject(IsUpload, new Fault.ResetRequest(100_000));
        Proxy.Inject(IsUpload, Fault.Answer.Busy(503, seconds: 1));
        Proxy.Inject(r => r.Method == "POST", Fault.Answer.Busy(429, seconds: 1), times: 2);
        (await First(version, token).BuildAsync(context, "--export-cache", Cache)).Succeeded();
        Assert.Equal(0, Proxy.FaultsLeft);
        Assert.Empty((await (await SecondAsync(version, token)).BuildAsync(context, "--import-cache", Cache, "--output", "type=oci,dest=/dev/null")).Succeeded().Trace.Executed);
    }

    [EndToEndTheory]
    [InlineData(1, "layer", "error writing layer blob: ")]
    [InlineData(2, "layer", "error writing layer blob: ")]
    [InlineData(1, "commit", "error writing layer blob: error committing cache ")]
    [InlineData(2, "commit", "error writing layer blob: ")]
    [InlineData(1, "index", "failed to parse error response 500")]
    [InlineData(2, "index", "RESPONSE 500")]
    public async Task A_failed_export_refers_to_nothing_half_written(int version, string what, string error)
    {
        using var context = OneStep("head -c 3000000 /dev/urandom > /data");
        var client = First(version, Service.IssueToken(("refs/heads/main", 3)));
        Func<ProxiedRequest, bool> where = what switch
        {
            "layer" => r => IsUpload(r) && !Service.IsAbout(r, IsIndex),
            "commit" => r => r.Method == "POST" && (r.Target.Contains("/caches/", StringComparison.Ordinal) || r.Target.EndsWith("FinalizeCacheEntryUpload", StringComparison.Ordinal)),
            _ => r => IsUpload(r) && Service.IsAbout(r, IsIndex),
        };
        Proxy.Inject(where, new Fault.Answer(500), times: 1000);
        var export = await client.BuildPlainAsync(context, "--export-cache", Cache);
        export.Failed();
        Assert.Contains(error, export.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("sig=", export.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(Service.Entries, e => e.Contains(_scope, StringComparison.Ordinal));
        // What was reserved by the failed export blocks nobody for long: the service forgets it.
        Service.Evict(key => !Service.Entries.Any(e => e.EndsWith(key, StringComparison.Ordinal)));
        Assert.Contains(error, (await client.BuildPlainAsync(context, "--export-cache", Cache + ",ignore-error=true")).Succeeded().Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(Service.Entries, e => e.Contains(_scope, StringComparison.Ordinal));
    }

    private Buildctl First(int version, string token) => new(_fixture.Build.Daemon.Address, JobEnvironment(version, token));

    private async Task<Buildctl> SecondAsync(int version, string token)
    {
        var client = new Buildctl(_fixture.Second.Address, JobEnvironment(version, token));
        await client.PruneAllAsync();
        return client;
    }

    /// <summary>What a job finds in its environment.</summary>
    private Dictionary<string, string?> JobEnvironment(int version, string token) => new(StringComparer.Ordinal)
    {
        ["ACTIONS_RUNTIME_TOKEN"] = token,
        ["ACTIONS_CACHE_URL"] = version == 1 ? $"http://{Proxy.Host}/" : null,
        ["ACTIONS_RESULTS_URL"] = version == 2 ? $"http://{Proxy.Host}/" : null,
        ["ACTIONS_CACHE_SERVICE_V2"] = version == 2 ? "True" : null,
    };

    /// <summary>A well-formed token that the service did not issue.</summary>
    private string Foreign() => string.Join('.', Service.IssueToken(("refs/heads/main", 3)).Split('.')[..2].Append("Zm9yZWlnbg"));

    private bool IsIndex(string key) => key.StartsWith($"index-{_scope}-", StringComparison.Ordinal);

    private bool IsBlobRead(ProxiedRequest request) =>
        request.Method == "GET" && Service.IsAbout(request, key => key.StartsWith("buildkit-blob-", StringComparison.Ordinal));

    private static bool IsUpload(ProxiedRequest request) => request.Method is "PUT" or "PATCH";

    private ContextDirectory Context() => new ContextDirectory($"""
        FROM {_fixture.Build.Base} AS build
        COPY source.txt /src/
        RUN tr a-z A-Z < /src/source.txt > /result.txt
        RUN od -An -N8 -tx1 /dev/urandom > /random
        FROM {_fixture.Build.Base}
        RUN echo {Guid.NewGuid():N} > /final
        COPY --from=build /result.txt /random /app/
        """).Write("source.txt", Guid.NewGuid().ToString("N"));

    private ContextDirectory OneStep(string command) => new($"FROM {_fixture.Build.Base}\nRUN echo {Guid.NewGuid():N} > /id && {command}\n");
}
