using System.Net;
using System.Text;
using BuildKit.IntegrationTests.Support;
using BuildKit.Oci;
using BuildKit.RemoteCache.Backends;
using BuildKit.RemoteCache.Backends.GitHubActions;
using BuildKit.RemoteCache.Config;
using BuildKit.Tests.Registry;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>The token of the gha cache, and its attributes together (each by itself: <c>AttributeTable</c>).</summary>
public sealed class ActionsAttributeTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 26, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("{}", "", "token is unverifiable: signing method (alg) is unspecified")]
    [InlineData("""{"alg":"magic"}""", "", "token is unverifiable: signing method (alg) is unavailable")]
    [InlineData("[]", "", "token is malformed: could not JSON decode header: found Array, expected an object")]
    [InlineData(null, "", "invalid token without access controls")]
    [InlineData(null, "\"ac\":[]", "invalid token with access controls type []interface {}")]
    [InlineData(null, "\"ac\":7", "invalid token with access controls type float64")]
    [InlineData(null, "\"ac\":null", "invalid token with access controls type <nil>")]
    [InlineData(null, "\"ac\":\"[]\"", "invalid token without expiration time")]
    [InlineData(null, "\"ac\":\"[]\",\"exp\":\"soon\"", "invalid token with expiration time type string")]
    [InlineData(null, "\"ac\":\"[]\",\"exp\":1764158399", "cache token expired at 2025-11-26 11:59:59 +0000 UTC")]
    [InlineData(null, "\"ac\":\"[]\",\"exp\":1795694401", "invalid token without expiration time")]
    [InlineData(null, "\"ac\":\"[]\",\"exp\":1795694401,\"nbf\":true", "invalid token with expiration time type bool")]
    [InlineData(null, "\"ac\":\"[]\",\"exp\":1795694401,\"nbf\":1795694401", "invalid token with future issue time time 2026-11-26 12:00:01 +0000 UTC")]
    public void A_token_that_cannot_be_used_says_why(string? header, string claims, string error)
    {
        var token = StoreKit.TokenOf(header ?? """{"alg":"RS256"}""", "{" + claims + "}");
        Assert.Equal(error, Assert.Throws<FormatException>(() => ActionsToken.Parse(token, Now)).Message);
    }

    [Fact]
    public void Access_controls_that_are_no_list_of_scopes_are_refused()
    {
        var token = StoreKit.TokenOf("""{"alg":"RS256"}""", """{"ac":"{}","exp":1795694401,"nbf":1}""");
        Assert.StartsWith("failed to parse token access controls: ", Assert.Throws<FormatException>(() => ActionsToken.Parse(token, Now)).Message, StringComparison.Ordinal);
        Assert.StartsWith("token is malformed: could not base64 decode claim", Assert.Throws<FormatException>(() => ActionsToken.Parse("e30.%.x", Now)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[]", "")]
    [InlineData("""[{"Scope":"refs/heads/main","Permission":1}]""", "")]
    [InlineData("""[{"Scope":"refs/heads/a","Permission":3},{"Scope":"refs/heads/main","Permission":1}]""", "refs/heads/a")]
    [InlineData("""[{"scope":"refs/heads/a","permission":3},{"SCOPE":"refs/heads/b","PERMISSION":2}]""", "refs/heads/b")]
    public void Indexes_are_written_to_the_last_writable_scope(string scopes, string expected)
    {
        var claims = $$"""{"ac":{{Encoding.UTF8.GetString(CanonicalText(scopes))}},"exp":1795694401,"nbf":1.5}""";
        Assert.Equal(expected, ActionsToken.Parse(StoreKit.TokenOf("""{"alg":"none"}""", claims), Now).WriteScope);
    }

    [Fact]
    public void What_is_not_given_has_its_default()
    {
        var config = ActionsCacheConfig.Read(StoreKit.Attributes($"token={StoreKit.Token(Now, ("refs/heads/main", 3))},url=http://h/p"), Now);
        Assert.Equal(("buildkit", "http://h/p/", false, TimeSpan.FromMinutes(10)), (config.Scope, config.Url, config.IsVersion2, config.Timeout));
        Assert.Equal(("", ""), (config.Repository, config.GitHubToken));
        Assert.Equal("index-buildkit-1-f921bd05", config.IndexKey("refs/heads/main"));
        Assert.Equal("index-buildkit-1-e3b0c442", config.IndexKey(""));
        var given = ActionsCacheConfig.Read(StoreKit.Attributes(
            $"token={StoreKit.Token(Now)},url=http://h/,scope=sc,timeout=1m30s,repository=o/r,ghtoken=t"), Now);
        Assert.Equal(("sc", TimeSpan.FromSeconds(90), "o/r", "t"), (given.Scope, given.Timeout, given.Repository, given.GitHubToken));
    }

    [Theory]
    [InlineData("url=http://one/", false, "http://one/")]
    [InlineData("url=http://one/,version=2", true, "http://one/")]
    [InlineData("url=http://one/,version=0", false, "http://one/")]
    [InlineData("url=http://one/,version=-3", false, "http://one/")]
    [InlineData("url=http://one/,url_v2=http://two/", true, "http://two/")]
    [InlineData("url=http://one/,url_v2=http://two/,version=2", true, "http://two/")]
    [InlineData("url=http://one/,url_v2=http://two/,version=1", false, "http://one/")]
    [InlineData("url_v2=http://two", true, "http://two/")]
    [InlineData("url=https://results-receiver.actions.githubusercontent.com/", true, "https://results-receiver.actions.githubusercontent.com/")]
    [InlineData("url=https://results-receiver.actions.githubusercontent.com/,version=1", false, "https://results-receiver.actions.githubusercontent.com/")]
    public void The_version_is_chosen_as_the_original_does(string attributes, bool isVersion2, string url)
    {
        var config = ActionsCacheConfig.Read(StoreKit.Attributes($"token={StoreKit.Token(Now)},{attributes}"), Now);
        Assert.Equal((isVersion2, url), (config.IsVersion2, config.Url));
    }

    [Theory]
    [InlineData(1, "")]
    [InlineData(2, "")]
    [InlineData(1, "scope=a b&ü,mode=anything,ignore-error=maybe,unknown=1")]
    [InlineData(2, "scope=a b&ü")]
    public async Task A_scope_names_the_index_and_blobs_are_shared(int version, string more)
    {
        await using var service = await ActionsService.StartAsync();
        var attributes = Attributes(service, version, service.IssueToken(("refs/heads/main", 3)), more);
        var (cache, blobs) = await StoreKit.CacheAsync(0, 1000);
        var registry = CacheBackendRegistry.WithBuiltIns();
        var export = await registry.ResolveExporterAsync("gha", attributes, StoreKit.Context(), default);
        Assert.Equal("exporting to GitHub Actions Cache", export.VertexName);
        Assert.Empty(await export.WriteAsync(cache, StoreKit.Progress(), default));
        var scope = attributes.GetValueOrDefault("scope") ?? "buildkit";
        Assert.Equal(
            blobs.Blobs.Keys.Select(d => $"refs/heads/main buildkit-blob-1-{d}").Append($"refs/heads/main index-{scope}-1-f921bd05#1").Order(StringComparer.Ordinal),
            service.Entries.Order(StringComparer.Ordinal));

        var import = await registry.ResolveImporterAsync("gha", attributes, StoreKit.Context(), default);
        var layers = Assert.Single(Assert.Single(await import.ReadAsync(StoreKit.Progress(), default)).SelectMany(n => n.Results)).Layers;
        Assert.Equal(blobs.Blobs.Keys.Order(), layers.Descriptors.Select(d => d.Digest).Order());
        foreach (var descriptor in layers.Descriptors)
        {
            var offset = descriptor.Size / 3;
            await using var blob = await layers.Provider.OpenAsync(descriptor, offset, default);
            using var copy = new MemoryStream();
            await blob.CopyToAsync(copy);
            Assert.Equal(blobs.Blobs[descriptor.Digest][(int)offset..], copy.ToArray());
        }
        attributes["scope"] = "another";
        Assert.Empty(await (await registry.ResolveImporterAsync("gha", attributes, StoreKit.Context(), default)).ReadAsync(StoreKit.Progress(), default));
    }

    [Theory]
    [InlineData(150, 2)]
    [InlineData(0, 1)]
    public async Task A_repository_and_its_token_replace_the_lookups_by_a_list(int others, int pages)
    {
        await using var service = await ActionsService.StartAsync();
        var (cache, blobs) = await StoreKit.CacheAsync(10, 20);
        var known = blobs.Blobs.Keys.First();
        await using var github = await StubServer.StartAsync(async (context, _) =>
        {
            Assert.Equal(("Bearer gh", "application/vnd.github+json", "2022-11-28"), (context.Request.Headers.Authorization.ToString(), context.Request.Headers.Accept.ToString(), context.Request.Headers["X-GitHub-Api-Version"].ToString()));
            var key = context.Request.Query["page"] == pages.ToString(System.Globalization.CultureInfo.InvariantCulture) && context.Request.Query["ref"] == "refs/heads/main" ? $"buildkit-blob-1-{known}" : "buildkit-blob-1-other";
            await context.Response.WriteAsync($$"""{"total_count":{{others}},"actions_caches":[{"id":1,"key":"{{key}}"}]}""");
        });
        await using var proxy = await FaultProxy.StartAsync(service.Host);
        var attributes = Attributes(service, 1, service.IssueToken(("refs/heads/f", 3), ("refs/heads/main", 1)), "repository=o/r,ghtoken=gh");
        attributes["url"] = $"http://{proxy.Host}/";
        using var http = new HttpMessageInvoker(new Redirected(github.Host));
        var progress = new SilentProgress();
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("gha", attributes, StoreKit.Context() with { Http = http }, default);
        await export.WriteAsync(cache, StoreKit.Progress(progress), default);
        Assert.Equal(
            new[] { "refs/heads/f", "refs/heads/main" }.SelectMany(scope => Enumerable.Range(1, pages).Select(page => $"GET /repos/o/r/actions/caches?key=buildkit-blob-1-&page={page}&per_page=100&ref={scope}")).Order(StringComparer.Ordinal),
            github.Requests.Order(StringComparer.Ordinal));
        Assert.DoesNotContain(proxy.Requests, r => r.Target.Contains("keys=buildkit-blob", StringComparison.Ordinal));
        Assert.Equal(2, service.Entries.Count); // the other blob, and the index
        Assert.DoesNotContain(service.Entries, e => e.Contains(known.Hex, StringComparison.Ordinal));
        Assert.Empty(progress.Warnings);
    }

    [Fact]
    public async Task Without_the_list_each_layer_is_asked_for()
    {
        await using var service = await ActionsService.StartAsync();
        var (cache, _) = await StoreKit.CacheAsync(10, 20);
        await using var github = await StubServer.StartAsync((context, _) =>
        {
            context.Status(403);
            return context.Response.WriteAsync("""{"message":"Resource not accessible"}""");
        });
        using var http = new HttpMessageInvoker(new Redirected(github.Host));
        var progress = new SilentProgress();
        var attributes = Attributes(service, 2, service.IssueToken(("refs/heads/f", 3)), "repository=o/r,ghtoken=gh");
        var export = await CacheBackendRegistry.WithBuiltIns().ResolveExporterAsync("gha", attributes, StoreKit.Context() with { Http = http }, default);
        await export.WriteAsync(cache, StoreKit.Progress(progress), default);
        Assert.Equal("cannot list the caches of o/r, asking for each layer: Resource not accessible", Assert.Single(progress.Warnings));
        Assert.Equal(3, service.Entries.Count);
    }

    [Fact]
    public async Task Cache_mounts_come_along()
    {
        await using var service = await ActionsService.StartAsync();
        var attributes = Attributes(service, 2, service.IssueToken(("refs/heads/f", 3)));
        var (cache, blobs) = await StoreKit.CacheAsync(10);
        var (_, mounted) = await StoreKit.CacheAsync(20);
        var (digest, bytes) = mounted.Blobs.Single();
        var layer = new Descriptor(MediaTypes.OciLayerGzip, digest, bytes.Length) { Annotations = new Dictionary<string, string>(StringComparer.Ordinal) { ["containerd.io/uncompressed"] = Digest.Sha256("m").ToString() } };
        var registry = CacheBackendRegistry.WithBuiltIns();
        var export = await registry.ResolveExporterAsync("gha", attributes, StoreKit.Context(), default);
        await export.WriteAsync(cache.With([CacheMountLayer.Of("/go", layer, mounted)]), StoreKit.Progress(), default);
        var import = await registry.ResolveImporterAsync("gha", attributes, StoreKit.Context(), default);
        Assert.Single(await import.ReadAsync(StoreKit.Progress(), default));
        var mount = Assert.Single(import.Mounts);
        Assert.Equal(("/go", digest), (mount.Mount.Id, mount.Layer.Descriptor.Digest));
        await using var stream = await mount.Layer.Provider.OpenAsync(mount.Layer.Descriptor, 0, default);
        using var copy = new MemoryStream();
        await stream.CopyToAsync(copy);
        Assert.Equal(bytes, copy.ToArray());
        Assert.DoesNotContain(digest, blobs.Blobs.Keys);
    }

    internal static Dictionary<string, string> Attributes(ActionsService service, int version, string token, string more = "")
    {
        var attributes = StoreKit.Attributes(more);
        attributes[version == 1 ? "url" : "url_v2"] = $"http://{service.Host}/";
        attributes["token"] = token;
        return attributes;
    }

    private static byte[] CanonicalText(string text)
    {
        var writer = new CanonicalJsonWriter();
        writer.WriteString(text);
        return writer.ToArray();
    }

    /// <summary>Sends what goes to GitHub's API elsewhere.</summary>
    private sealed class Redirected(string host) : DelegatingHandler(new SocketsHttpHandler { AllowAutoRedirect = false, AutomaticDecompression = DecompressionMethods.None })
    {
        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (request.RequestUri!.Host == "api.github.com")
                request.RequestUri = new Uri($"http://{host}{request.RequestUri.PathAndQuery}");
            return base.SendAsync(request, cancellationToken);
        }
    }
}
