using System.Text;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Backends.S3;
using BuildKit.RemoteCache.Config;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>The attributes of the s3 and azblob caches together: keys, environment, defaults (each by itself: <c>AttributeTable</c>).</summary>
public sealed class StoreAttributeTests
{
    private const string S3 = "endpoint_url=http://@,use_path_style=1,bucket=bkt,region=eu-west-9,access_key_id=AK,secret_access_key=SK";
    private const string Azure = "account_url=http://@/az,account_name=acct,secret_access_key=c2VjcmV0";

    [Theory]
    [InlineData("", "/bkt/blobs/sha256%3A#", "/bkt/manifests/buildkit")]
    [InlineData("prefix=p/", "/bkt/p/blobs/sha256%3A#", "/bkt/p/manifests/buildkit")]
    [InlineData("prefix=p", "/bkt/pblobs/sha256%3A#", "/bkt/pmanifests/buildkit")]
    [InlineData("blobs_prefix=b-,manifests_prefix=", "/bkt/b-sha256%3A#", "/bkt/buildkit")]
    [InlineData("name=n1;n2;n/3", "/bkt/blobs/sha256%3A#", "/bkt/manifests/n1", "/bkt/manifests/n2", "/bkt/manifests/n/3")]
    [InlineData("name=", "/bkt/blobs/sha256%3A#", "/bkt/manifests/")]
    [InlineData("prefix=a b+ü&?/", "/bkt/a%20b%2B%C3%BC%26%3F/blobs/sha256%3A#", "/bkt/a%20b%2B%C3%BC%26%3F/manifests/buildkit")]
    [InlineData("bucket=other.bucket", "/other.bucket/blobs/sha256%3A#", "/other.bucket/manifests/buildkit")]
    [InlineData("touch_refresh=soon,use_path_style=yes,mode=anything,ignore-error=maybe", "/bkt/blobs/sha256%3A#", "/bkt/manifests/buildkit")]
    [InlineData("upload_parallelism=1", "/bkt/blobs/sha256%3A#", "/bkt/manifests/buildkit")]
    [InlineData("compression=zstd,timeout=30s,unknown=1", "/bkt/blobs/sha256%3A#", "/bkt/manifests/buildkit")]
    public async Task Attributes_of_s3_decide_the_keys(string more, params string[] keys) => await ExportAndImportAsync("s3", S3, more, keys);

    [Theory]
    [InlineData("", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/manifests%2Fbuildkit")]
    [InlineData("prefix=p", "/az/buildkit-cache/p%2Fblobs%2Fsha256:#", "/az/buildkit-cache/p%2Fmanifests%2Fbuildkit")]
    [InlineData("prefix=p//./q/../", "/az/buildkit-cache/p%2Fblobs%2Fsha256:#", "/az/buildkit-cache/p%2Fmanifests%2Fbuildkit")]
    [InlineData("blobs_prefix=,manifests_prefix=m", "/az/buildkit-cache/sha256:#", "/az/buildkit-cache/m%2Fbuildkit")]
    [InlineData("name=n1;n2", "/az/buildkit-cache/blobs%2Fsha256:#", "/az/buildkit-cache/manifests%2Fn1", "/az/buildkit-cache/manifests%2Fn2")]
    [InlineData("container=c1", "/az/c1/blobs%2Fsha256:#", "/az/c1/manifests%2Fbuildkit")]
    [InlineData("prefix=a b+ü&?", "/az/buildkit-cache/a%20b+%C3%BC&%3F%2Fblobs%2Fsha256:#", "/az/buildkit-cache/a%20b+%C3%BC&%3F%2Fmanifests%2Fbuildkit")]
    public async Task Attributes_of_azblob_decide_the_names(string more, params string[] keys) => await ExportAndImportAsync("azblob", Azure, more, keys);

    private static async Task ExportAndImportAsync(string type, string basic, string more, string[] keys)
    {
        await using var store = await MemoryStore.StartAsync();
        var attributes = StoreKit.Attributes(basic, store.Host);
        foreach (var (name, value) in StoreKit.Attributes(more))
            attributes[name] = value;
        var (cache, blobs) = await StoreKit.CacheAsync(1000);
        var registry = CacheBackendRegistry.WithBuiltIns();
        var export = await registry.ResolveExporterAsync(type, attributes, StoreKit.Context(), default);
        Assert.Empty(await export.WriteAsync(cache, StoreKit.Progress(), default));
        var layer = blobs.Blobs.Single();
        Assert.Equal(keys.Select(k => k.Replace("#", layer.Key.Hex, StringComparison.Ordinal)).Order(StringComparer.Ordinal), store.Objects.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(layer.Value, store.Objects[keys[0].Replace("#", layer.Key.Hex, StringComparison.Ordinal)]);
        foreach (var manifest in keys.Skip(1))
        {
            var layers = $$$"""{"layers":[{"blob":"{{{layer.Key}}}","parent":-1,"annotations":{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","diffID":"{{{Digest.Sha256("diff1000")}}}","size":1000,"createdAt":"2026-11-20T18:23:25.5Z"}}],"records":[""";
            Assert.StartsWith(layers, Encoding.UTF8.GetString(store.Objects[manifest]), StringComparison.Ordinal);
        }

        var import = await registry.ResolveImporterAsync(type, attributes, StoreKit.Context(), default);
        var graphs = await import.ReadAsync(StoreKit.Progress(), default);
        // s3 reads the first name only, azblob all of them.
        Assert.Equal(type == "s3" ? 1 : keys.Length - 1, graphs.Count);
        var result = Assert.Single(graphs[0].SelectMany(n => n.Results));
        var descriptor = Assert.Single(result.Layers.Descriptors);
        Assert.Equal("2026-11-20T18:23:25.5Z", descriptor.Annotations["buildkit/createdat"]);
        Assert.Equal(cache.Blobs[layer.Key].Descriptor.Annotations["containerd.io/uncompressed"], descriptor.Annotations["containerd.io/uncompressed"]);
        await using var blob = await result.Layers.Provider.OpenAsync(descriptor, 400, default);
        using var copy = new MemoryStream();
        await blob.CopyToAsync(copy);
        Assert.Equal(layer.Value[400..], copy.ToArray());
    }

    [Fact]
    public void The_environment_fills_in_what_is_not_given_for_s3()
    {
        string? Environment(string name) => name switch { "AWS_BUCKET" => "env-bucket", "AWS_REGION" => "env-region", _ => null };
        var config = S3Config.Read(StoreKit.Attributes(""), Environment);
        Assert.Equal(("env-bucket", "env-region"), (config.Bucket, config.Region));
        Assert.Equal(("", "blobs/", "manifests/", "buildkit"), (config.Prefix, config.BlobsPrefix, config.ManifestsPrefix, Assert.Single(config.Names)));
        Assert.Equal((TimeSpan.FromHours(24), 4, false, TimeSpan.FromMinutes(1)), (config.TouchRefresh, config.UploadParallelism, config.UsePathStyle, config.Timeout));
        var given = S3Config.Read(StoreKit.Attributes("bucket=,region=r,touch_refresh=1h30m,upload_parallelism=+7,use_path_style=T"), Environment);
        Assert.Equal(("", "r", TimeSpan.FromMinutes(90), 7, true), (given.Bucket, given.Region, given.TouchRefresh, given.UploadParallelism, given.UsePathStyle));
    }

    [Fact]
    public void The_environment_fills_in_what_is_not_given_for_azblob()
    {
        string? Environment(string name) => name switch
        {
            "BUILDKIT_AZURE_STORAGE_ACCOUNT_URL" => "https://envacct.blob.core.windows.net/",
            "BUILDKIT_AZURE_STORAGE_CONTAINER" => "envcontainer",
            "BUILDKIT_AZURE_STORAGE_PREFIX" => "envprefix",
            _ => null,
        };
        var config = AzureBlobConfig.Read(StoreKit.Attributes(""), Environment);
        Assert.Equal(("https://envacct.blob.core.windows.net", "envacct", "envcontainer", "envprefix"), (config.AccountUrl, config.AccountName, config.Container, config.Prefix));
        Assert.Equal("envaccountname", AzureBlobConfig.Read(StoreKit.Attributes(""), n => n.EndsWith("ACCOUNT_NAME", StringComparison.Ordinal) ? "envaccountname" : Environment(n)).AccountName);
        var given = AzureBlobConfig.Read(StoreKit.Attributes("account_url=https://x.example/base,account_name=y,container=z,prefix=,blobs_prefix=b,manifests_prefix=m,name=1;2"), Environment);
        Assert.Equal(("https://x.example/base", "y", "z", ""), (given.AccountUrl, given.AccountName, given.Container, given.Prefix));
        Assert.Equal(["1", "2"], given.Names);
        Assert.Equal("m/1", given.ManifestKey("1"));
    }

    [Theory]
    [InlineData("bkt", "us-east-1", "", false, "https://bkt.s3.us-east-1.amazonaws.com/k/1%3A2")]
    [InlineData("bkt", "us-east-1", "", true, "https://s3.us-east-1.amazonaws.com/bkt/k/1%3A2")]
    [InlineData("my.bkt", "eu-west-1", "", false, "https://s3.eu-west-1.amazonaws.com/my.bkt/k/1%3A2")]
    [InlineData("Upper_Case", "eu-west-1", "", false, "https://s3.eu-west-1.amazonaws.com/Upper_Case/k/1%3A2")]
    [InlineData("bkt", "cn-north-1", "", false, "https://bkt.s3.cn-north-1.amazonaws.com.cn/k/1%3A2")]
    [InlineData("bkt", "r", "http://minio:9000/", false, "http://bkt.minio:9000/k/1%3A2")]
    [InlineData("bkt", "r", "http://minio:9000/sub/", true, "http://minio:9000/sub/bkt/k/1%3A2")]
    [InlineData("bkt", "r", "http://127.0.0.1:9000", false, "http://127.0.0.1:9000/bkt/k/1%3A2")]
    [InlineData("bkt", "r", "http://[::1]:9000", false, "http://[::1]:9000/bkt/k/1%3A2")]
    public void A_bucket_is_in_the_host_where_that_is_possible(string bucket, string region, string endpoint, bool usePathStyle, string url) =>
        Assert.Equal(url, new S3Endpoint(bucket, region, endpoint, usePathStyle).Object("k/1:2"));

    [Fact]
    public async Task Keys_and_session_token_sign_every_request()
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, _) = await StoreKit.CacheAsync(10);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3 + ",session_token=ST", store.Host), StoreKit.Context(), default);
        await export.WriteAsync(cache, StoreKit.Progress(), default);
        Assert.Equal(3, store.Authorizations.Count);
        Assert.All(store.Authorizations, a => Assert.Matches("^AWS4-HMAC-SHA256 Credential=AK/[0-9]{8}/eu-west-9/s3/aws4_request, SignedHeaders=[a-z0-9;-]*x-amz-security-token, Signature=[0-9a-f]{64} ST$", a));
    }

    [Theory]
    [InlineData("s3", S3 + ",name=first;second")]
    [InlineData("azblob", Azure + ",name=first;second")]
    public async Task A_missing_config_is_an_empty_cache(string type, string attributes)
    {
        await using var store = await MemoryStore.StartAsync();
        var import = await CacheBackendRegistry.WithBuiltIns().ResolveImporterAsync(type, StoreKit.Attributes(attributes, store.Host), StoreKit.Context(), default);
        Assert.Empty(await import.ReadAsync(StoreKit.Progress(), default));
    }

    [Theory]
    [InlineData("s3", "{\"records\":[]} x", "unexpected data after JSON object")]
    [InlineData("s3", "{\"layers\":[{\"blob\":\"sha256:1\",\"parent\":-1}]}\n", "cache layer with missing annotations")]
    [InlineData("s3", "{\"layers\":[{\"blob\":\"sha256:1\",\"parent\":-1,\"annotations\":{\"size\":1}}]}", "cache layer with missing diffid")]
    [InlineData("azblob", "{\"layers\":[{\"blob\":\"sha256:1\",\"parent\":-1}]}", "failed to load cache manifest buildkit: cache layer with missing annotations")]
    [InlineData("azblob", "{\"layers\":[{\"blob\":\"sha256:1\",\"parent\":-1,\"annotations\":{\"size\":1}}]}", "failed to load cache manifest buildkit: cache layer with missing diffid")]
    public async Task A_config_that_cannot_be_used_says_why(string type, string config, string error)
    {
        await using var store = await MemoryStore.StartAsync();
        store.Objects["/bkt/manifests/buildkit"] = store.Objects["/az/buildkit-cache/manifests%2Fbuildkit"] = Encoding.UTF8.GetBytes(config);
        var import = await CacheBackendRegistry.WithBuiltIns().ResolveImporterAsync(type, StoreKit.Attributes(type == "s3" ? S3 : Azure, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => import.ReadAsync(StoreKit.Progress(), default));
        Assert.Equal(error, thrown.Message);
    }

    [Theory]
    [InlineData(null, "invalid descriptor without annotations")]
    [InlineData("other=1", "invalid descriptor without uncompressed annotation")]
    [InlineData("containerd.io/uncompressed=nothing", "failed to parse uncompressed annotation: invalid checksum digest format: nothing")]
    [InlineData("gone", "missing blob sha256:")]
    public async Task A_layer_that_importers_could_not_use_is_not_exported(string? annotation, string error)
    {
        await using var store = await MemoryStore.StartAsync();
        var (cache, provider) = await StoreKit.CacheAsync(10);
        var (digest, blob) = cache.Blobs.Single();
        var blobs = new Dictionary<Digest, LayerBlob>();
        if (annotation != "gone")
            blobs[digest] = new LayerBlob(blob.Descriptor with { Annotations = StoreKit.Attributes(annotation ?? "") }, provider);
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("s3", StoreKit.Attributes(S3, store.Host), StoreKit.Context(), default);
        var thrown = await Assert.ThrowsAsync<RemoteCacheException>(() => export.WriteAsync(cache with { Blobs = blobs }, StoreKit.Progress(), default));
        Assert.StartsWith(error, thrown.Message, StringComparison.Ordinal);
        Assert.Empty(store.Objects);
    }
}
