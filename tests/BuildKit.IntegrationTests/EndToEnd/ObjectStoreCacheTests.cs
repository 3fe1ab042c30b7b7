using BuildKit.IntegrationTests.RemoteCache.RoundTrips;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>Both object stores behind proxies, and a second daemon that has nothing of the first.</summary>
public sealed class ObjectStoreFixture : IAsyncLifetime
{
    internal static readonly string[] Needs = [.. BuildFixture.Needs, "node", "azurite-blob", "s3rver"];

    public BuildFixture Build { get; } = new();

    public ObjectStore S3 { get; private set; } = null!;

    public ObjectStore Azure { get; private set; } = null!;

    public FaultProxy S3Proxy { get; private set; } = null!;

    public FaultProxy AzureProxy { get; private set; } = null!;

    public DaemonProcess Second { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        if (Requirement.Missing(Needs) is not null)
            return; // every test of the class is skipped for the same reason
        await Build.InitializeAsync();
        (S3, Azure) = (await ObjectStore.StartS3Async(), await ObjectStore.StartAzureAsync());
        (S3Proxy, AzureProxy) = (await FaultProxy.StartAsync(S3.Host), await FaultProxy.StartAsync(Azure.Host));
        Second = await DaemonProcess.StartAsync();
    }

    public async Task DisposeAsync()
    {
        foreach (var part in new IAsyncDisposable?[] { Second, S3Proxy, AzureProxy, S3, Azure })
        {
            if (part is not null)
                await part.DisposeAsync();
        }
        await Build.DisposeAsync();
    }

    /// <summary>The proxy of a store.</summary>
    public FaultProxy Proxy(string type) => type == "s3" ? S3Proxy : AzureProxy;

    /// <summary>Attributes of a cache of its own in one of the stores, and more of them.</summary>
    public string Cache(string type, string prefix, string more = "") => (type == "s3"
        ? $"type=s3,endpoint_url=http://{S3Proxy.Host},use_path_style=true,bucket=bkt,region=us-east-1,access_key_id=S3RVER,secret_access_key=S3RVER,prefix={prefix}/"
        : $"type=azblob,account_url=http://{AzureProxy.Host}/{ObjectStore.AzureAccount},account_name={ObjectStore.AzureAccount},secret_access_key={ObjectStore.AzureKey},prefix={prefix}")
        + (more.Length > 0 ? "," + more : "");
}

[AttributeUsage(AttributeTargets.Method)]
public sealed class ObjectStoreFactAttribute : FactAttribute
{
    public ObjectStoreFactAttribute() => Skip = Requirement.Missing(ObjectStoreFixture.Needs);
}

[AttributeUsage(AttributeTargets.Method)]
public sealed class ObjectStoreTheoryAttribute : TheoryAttribute
{
    public ObjectStoreTheoryAttribute() => Skip = Requirement.Missing(ObjectStoreFixture.Needs);
}

/// <summary>Caches in S3 and Azure Blob Storage: what one daemon exports another one uses, also over bad connections.</summary>
public sealed class ObjectStoreCacheTests(ObjectStoreFixture fixture) : IClassFixture<ObjectStoreFixture>
{
    private readonly string _prefix = Guid.NewGuid().ToString("N");

    private Buildctl First => fixture.Build.Client;

    private Buildctl Second => new(fixture.Second.Address);

    private ContextDirectory Context() => new ContextDirectory($"""
        FROM {fixture.Build.Base} AS build
        COPY source.txt /src/
        RUN tr a-z A-Z < /src/source.txt > /result.txt
        RUN od -An -N8 -tx1 /dev/urandom > /random
        FROM {fixture.Build.Base}
        RUN echo {Guid.NewGuid():N} > /final
        COPY --from=build /result.txt /random /app/
        """).Write("source.txt", Guid.NewGuid().ToString("N"));

    private static ContextDirectory OneStep(string from, string command) => new($"FROM {from}\nRUN echo {Guid.NewGuid():N} > /id && {command}\n");

    [ObjectStoreTheory]
    [InlineData("s3", "min")]
    [InlineData("s3", "max")]
    [InlineData("azblob", "min")]
    [InlineData("azblob", "max")]
    public async Task A_second_empty_daemon_executes_nothing(string type, string mode)
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var cache = fixture.Cache(type, _prefix);
        var first = (await First.BuildAsync(context, "--export-cache", $"{cache},mode={mode}")).Succeeded();
        Assert.Equal(5, first.Trace.Executed.Count);
        Assert.Contains(first.Trace.Statuses, s => s.StartsWith("writing layer sha256:", StringComparison.Ordinal));
        Assert.Contains(first.Trace.Statuses, s => s.StartsWith("writing config sha256:", StringComparison.Ordinal));
        Assert.Single(first.Trace.Vertices, v => v.Name == (type == "s3" ? "exporting cache to Amazon S3" : "exporting cache to Azure Blob Storage"));
        (await First.BuildAsync(context, "--output", $"type=local,dest={temp.Path}/first")).Succeeded();

        await Second.PruneAllAsync();
        var again = (await Second.BuildAsync(context, "--import-cache", cache, "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
        Assert.Empty(again.Trace.Executed);
        foreach (var file in new[] { "random", "result.txt" })
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first/app/{file}"), await File.ReadAllBytesAsync($"{temp.Path}/second/app/{file}"));

        context.Write("Dockerfile", (await File.ReadAllTextAsync(context["Dockerfile"])).Replace("/random /app/", "/random /moved/", StringComparison.Ordinal));
        await Second.PruneAllAsync();
        var changed = (await Second.BuildAsync(context, "--import-cache", cache)).Succeeded();
        Assert.Equal(mode == "max" ? 1 : 4, changed.Trace.Executed.Count);
    }

    [ObjectStoreTheory]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task A_repeated_export_uploads_no_layer(string type)
    {
        using var context = Context();
        var cache = fixture.Cache(type, _prefix, "mode=max,name=one;two");
        (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        var manifests = type == "s3" ? "manifests/" : "manifests%2F";
        Assert.Equal(2, Mine(type).Count(r => r.Method == "PUT" && r.Target.Contains(manifests, StringComparison.Ordinal)));
        fixture.Proxy(type).Reset();
        var again = (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        Assert.Empty(again.Trace.Executed);
        Assert.DoesNotContain(again.Trace.Statuses, s => s.StartsWith("writing layer", StringComparison.Ordinal));
        Assert.Equal(2, Mine(type).Count(r => r.Method == "PUT"));

        // s3 reads the first name only, azblob all of them.
        await Second.PruneAllAsync();
        var other = (await Second.BuildAsync(context, "--import-cache", fixture.Cache(type, _prefix, "name=two;missing"))).Succeeded();
        Assert.Empty(other.Trace.Executed);
        await Second.PruneAllAsync();
        var behind = (await Second.BuildAsync(context, "--import-cache", fixture.Cache(type, _prefix, "name=missing;two"))).Succeeded();
        Assert.Equal(type == "s3" ? 5 : 0, behind.Trace.Executed.Count);
    }

    /// <summary>Parts of 5 MiB in s3, blocks of 32 MiB in azblob.</summary>
    [ObjectStoreTheory]
    [InlineData("s3", 12, "partNumber=", 3, "uncompressed")]
    [InlineData("s3", 12, "partNumber=", 3, "gzip")]
    [InlineData("s3", 12, "partNumber=", 3, "estargz")]
    [InlineData("s3", 12, "partNumber=", 3, "zstd")]
    [InlineData("azblob", 34, "comp=block&", 2, "uncompressed")]
    [InlineData("azblob", 34, "comp=block&", 2, "gzip")]
    [InlineData("azblob", 34, "comp=block&", 2, "estargz")]
    [InlineData("azblob", 34, "comp=block&", 2, "zstd")]
    public async Task A_large_layer_goes_in_parts(string type, int megabytes, string query, int parts, string compression)
    {
        using var context = OneStep(fixture.Build.Base, $"head -c {megabytes}000000 /dev/urandom > /big");
        var cache = fixture.Cache(type, _prefix, $"compression={compression},compression-level=1");
        (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        Assert.Equal(parts, Mine(type).Count(r => (r.Target + "&").Contains(query, StringComparison.Ordinal)));
        var blobs = (await StoredAsync(type, _prefix)).Where(o => o.Key.StartsWith("blobs/", StringComparison.Ordinal)).ToList();
        Assert.Equal(2, blobs.Count);
        Assert.All(blobs, blob => Assert.Equal(blob.Key["blobs/".Length..], Digest.Sha256(blob.Value).ToString()));
        Assert.Contains(blobs, blob => blob.Value.Length > megabytes * 1_000_000);
        await Second.PruneAllAsync();
        using var temp = new TempDirectory();
        Assert.Empty((await Second.BuildAsync(context, "--import-cache", cache, "--output", $"type=oci,dest={temp.Path}/image.tar")).Succeeded().Trace.Executed);
        Assert.True(new FileInfo($"{temp.Path}/image.tar").Length > megabytes * 1_000_000);
    }

    [ObjectStoreTheory]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task Every_object_is_below_the_prefixes_and_has_the_names_that_were_asked_for(string type)
    {
        using var context = Context();
        var cache = fixture.Cache(type, _prefix + "/deep", "blobs_prefix=layers/,manifests_prefix=lists/");
        (await First.BuildAsync(context, "--export-cache", cache + ",name=one;two;three")).Succeeded();
        var objects = await StoredAsync(type, _prefix + "/deep");
        Assert.Equal(3, objects.Count(o => o.Key == "layers/" + Digest.Sha256(o.Value)));
        foreach (var name in new[] { "one", "two", "three" })
            Assert.Equal(objects["lists/one"], objects["lists/" + name]);
        Assert.Equal(6, objects.Count);
        // Of s3 the bucket is in the path; of azblob a name is one segment of it.
        Assert.All(Mine(type), r => Assert.StartsWith(
            type == "s3" ? $"/bkt/{_prefix}/deep/" : $"/{ObjectStore.AzureAccount}/buildkit-cache/{_prefix}%2Fdeep%2F", r.Target, StringComparison.Ordinal));
        foreach (var name in new[] { "one", "two", "three" })
        {
            await Second.PruneAllAsync();
            Assert.Empty((await Second.BuildAsync(context, "--import-cache", $"{cache},name={name}")).Succeeded().Trace.Executed);
        }
    }

    [ObjectStoreFact]
    public async Task Credentials_and_places_come_from_the_daemons_environment()
    {
        using var context = Context();
        await using var daemon = await DaemonProcess.StartAsync(environment: new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["AWS_ACCESS_KEY_ID"] = "S3RVER",
            ["AWS_SECRET_ACCESS_KEY"] = "S3RVER",
            ["AWS_BUCKET"] = "bkt",
            ["AWS_REGION"] = "us-east-1",
            ["AWS_EC2_METADATA_DISABLED"] = "true",
            ["BUILDKIT_AZURE_STORAGE_ACCOUNT_URL"] = $"http://{fixture.AzureProxy.Host}/{ObjectStore.AzureAccount}",
            ["BUILDKIT_AZURE_STORAGE_ACCOUNT_NAME"] = ObjectStore.AzureAccount,
            ["BUILDKIT_AZURE_STORAGE_CONTAINER"] = "from-env",
            ["BUILDKIT_AZURE_STORAGE_PREFIX"] = _prefix,
        });
        var client = new Buildctl(daemon.Address);
        var s3 = $"type=s3,endpoint_url=http://{fixture.S3Proxy.Host},use_path_style=true,prefix={_prefix}/";
        var azure = $"type=azblob,secret_access_key={ObjectStore.AzureKey}";
        (await client.BuildAsync(context, "--export-cache", s3, "--export-cache", azure)).Succeeded();
        Assert.Contains(Mine("azblob"), r => r.Target.StartsWith($"/{ObjectStore.AzureAccount}/from-env/{_prefix}%2F", StringComparison.Ordinal));
        foreach (var import in new[] { s3, azure })
        {
            await client.PruneAllAsync();
            Assert.Empty((await client.BuildAsync(context, "--import-cache", import)).Succeeded().Trace.Executed);
        }
    }

    [ObjectStoreTheory]
    [InlineData("s3", "access_key_id=WRONG", "failed to check file presence in cache: operation error S3: HeadObject, https response error StatusCode: 403")]
    [InlineData("s3", "bucket=missing", "error writing layer blob: operation error S3: PutObject, https response error StatusCode: 404")]
    [InlineData("azblob", "secret_access_key=d3Jvbmc=", "failed to configure azblob cache exporter: failed to create container client: failed to get properties of cache container buildkit-cache: GET ")]
    public async Task What_the_store_refuses_fails_the_export_and_only_shows_in_an_import(string type, string wrong, string error)
    {
        using var context = Context();
        var cache = fixture.Cache(type, _prefix, wrong);
        var export = await First.BuildPlainAsync(context, "--export-cache", cache);
        export.Failed();
        Assert.Contains(error, export.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("S3RVER", export.Errors, StringComparison.Ordinal);
        if (type == "s3")
        {
            // An account that cannot be used is a wrong configuration for azblob, which is never ignored.
            var ignored = (await First.BuildPlainAsync(context, "--export-cache", cache + ",ignore-error=true")).Succeeded();
            Assert.Contains(error, ignored.Errors, StringComparison.Ordinal);
        }
        var import = (await First.BuildPlainAsync(context, "--import-cache", cache)).Succeeded();
        Assert.Contains($"failed to configure {type} cache importer: ", import.Errors, StringComparison.Ordinal);
    }

    [ObjectStoreFact]
    public async Task An_old_object_is_touched_and_not_sent_again()
    {
        using var context = OneStep(fixture.Build.Base, "true");
        (await First.BuildAsync(context, "--export-cache", fixture.Cache("s3", _prefix))).Succeeded();
        var before = Mine("s3").Count(r => r.Target.Contains("/blobs/", StringComparison.Ordinal) && r.Method == "PUT");
        await Task.Delay(1100); // the store tells whole seconds
        fixture.S3Proxy.Reset();
        (await First.BuildAsync(context, "--export-cache", fixture.Cache("s3", _prefix, "touch_refresh=1s"))).Succeeded();
        var puts = Mine("s3").Where(r => r.Target.Contains("/blobs/", StringComparison.Ordinal) && r.Method == "PUT").ToList();
        Assert.Equal(before, puts.Count);
        Assert.All(puts, r => Assert.EndsWith("?x-id=CopyObject", r.Target, StringComparison.Ordinal));
        await Second.PruneAllAsync();
        Assert.Empty((await Second.BuildAsync(context, "--import-cache", fixture.Cache("s3", _prefix))).Succeeded().Trace.Executed);
    }

    [ObjectStoreTheory]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task A_bad_download_goes_on_until_the_layer_is_whole(string type)
    {
        using var context = OneStep(fixture.Build.Base, "head -c 300000 /dev/urandom > /data");
        var cache = fixture.Cache(type, _prefix);
        (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        using var temp = new TempDirectory();
        (await First.BuildAsync(context, "--output", $"type=local,dest={temp.Path}/first")).Succeeded();
        var proxy = fixture.Proxy(type);
        Fault[][] rounds =
        [
            // Both layers are read at once; which of them meets which fault does not matter.
            [new Fault.ResetAnswer(100_000), new Fault.Truncate(150_000), new Fault.ResetAnswer(0)],
            [Fault.Answer.Busy(503, seconds: 1), Fault.Answer.Busy(429, seconds: 1), new Fault.Stall(100_000)],
        ];
        foreach (var round in rounds)
        {
            await Second.PruneAllAsync();
            foreach (var fault in round)
                proxy.Inject(IsBlobRead, fault);
            var build = (await Second.BuildAsync(context, "--import-cache", cache + ",timeout=3s", "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
            Assert.Empty(build.Trace.Executed);
            Assert.Equal(await File.ReadAllBytesAsync($"{temp.Path}/first/data"), await File.ReadAllBytesAsync($"{temp.Path}/second/data"));
            Assert.Equal(0, proxy.FaultsLeft);
            Directory.Delete($"{temp.Path}/second", recursive: true);
        }
    }

    [ObjectStoreTheory]
    [InlineData("s3")]
    [InlineData("azblob")]
    public async Task Wrong_bytes_are_never_used(string type)
    {
        using var context = OneStep(fixture.Build.Base, "head -c 300000 /dev/urandom > /data");
        var cache = fixture.Cache(type, _prefix);
        (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        await Second.PruneAllAsync();
        fixture.Proxy(type).Inject(IsBlobRead, new Fault.Corrupt(5000), times: 10);
        using var temp = new TempDirectory();
        var build = (await Second.BuildPlainAsync(context, "--import-cache", cache, "--output", $"type=local,dest={temp.Path}/out")).Succeeded();
        Assert.Contains("unexpected commit digest sha256:", build.Errors, StringComparison.Ordinal);
        Assert.Equal(300_000, new FileInfo($"{temp.Path}/out/data").Length);
    }

    [ObjectStoreTheory]
    [InlineData("s3", "reset")]
    [InlineData("s3", "503")]
    [InlineData("azblob", "reset")]
    [InlineData("azblob", "429")]
    public async Task A_bad_upload_is_repeated(string type, string what)
    {
        using var context = OneStep(fixture.Build.Base, "head -c 6000000 /dev/urandom > /data");
        using var output = new TempDirectory();
        var cache = fixture.Cache(type, _prefix, "compression=uncompressed");
        fixture.Proxy(type).Inject(
            r => r.Method == "PUT" && r.Target.Contains("blobs", StringComparison.Ordinal),
            what == "reset" ? new Fault.ResetRequest(100_000) : Fault.Answer.Busy(int.Parse(what, System.Globalization.CultureInfo.InvariantCulture), seconds: 1), times: 2);
        (await First.BuildAsync(context, "--export-cache", cache)).Succeeded();
        Assert.Equal(0, fixture.Proxy(type).FaultsLeft);
        await Second.PruneAllAsync();
        Assert.Empty((await Second.BuildAsync(context, "--import-cache", cache, "--output", $"type=oci,dest={output.Path}/image.tar")).Succeeded().Trace.Executed);
    }

    [ObjectStoreFact]
    public async Task A_layer_that_is_gone_from_azblob_means_that_its_step_is_executed()
    {
        using var context = Context();
        using var temp = new TempDirectory();
        var cache = fixture.Cache("azblob", _prefix);
        (await First.BuildAsync(context, "--export-cache", cache + ",mode=max", "--output", $"type=local,dest={temp.Path}/first")).Succeeded();
        await Second.PruneAllAsync();
        fixture.AzureProxy.Inject(
            r => r.Method == "HEAD" && r.Target.Contains("blobs%2F", StringComparison.Ordinal),
            new Fault.Answer(404) { Headers = new Dictionary<string, string>(StringComparer.Ordinal) { ["x-ms-error-code"] = "BlobNotFound" } }, times: 100);
        (await Second.BuildAsync(context, "--import-cache", cache, "--output", $"type=local,dest={temp.Path}/second")).Succeeded();
        fixture.AzureProxy.Reset();
        Assert.DoesNotContain(Mine("azblob"), IsBlobRead);
        Assert.NotEqual(await File.ReadAllTextAsync($"{temp.Path}/first/app/random"), await File.ReadAllTextAsync($"{temp.Path}/second/app/random"));
    }

    /// <summary>What lies below a prefix of the store, read past the product.</summary>
    private async Task<IReadOnlyDictionary<string, byte[]>> StoredAsync(string type, string prefix) => type == "s3"
        ? fixture.S3.ReadObjects(prefix + "/")
        : await AzureStore.ReadObjectsAsync(fixture.Azure, "buildkit-cache", prefix + "/");

    private IEnumerable<ProxiedRequest> Mine(string type) => fixture.Proxy(type).Requests.Where(r => r.Target.Contains(_prefix, StringComparison.Ordinal));

    private bool IsBlobRead(ProxiedRequest request) =>
        request.Method == "GET" && request.Target.Contains(_prefix, StringComparison.Ordinal) && request.Target.Contains("blobs", StringComparison.Ordinal);
}
