using BuildKit.Oci;
using BuildKit.Registry;
using BuildKit.Registry.Auth;
using BuildKit.Registry.Hosts;
using Microsoft.AspNetCore.Http;

namespace BuildKit.Tests.Registry;

public sealed class AuthTests
{
    private static readonly Digest Some = Digest.Sha256("some");

    [Fact]
    public void Challenges_are_parsed_and_the_preferred_comes_first()
    {
        var challenges = Challenge.Parse(["Basic realm=\"x\"", "Weird a=b", "bearer Realm=\"https://a/\\\"t\" , SERVICE=reg.test,scope=\"a:b:pull c:d:push\""]);
        Assert.Equal(["bearer", "basic"], challenges.Select(challenge => challenge.Scheme));
        Assert.Equal("https://a/\"t", challenges[0]["realm"]);
        Assert.Equal("reg.test", challenges[0]["service"]);
        Assert.Equal("a:b:pull c:d:push", challenges[0]["scope"]);
        Assert.Equal("", challenges[0]["error"]);
    }

    [Fact]
    public void Scopes_are_merged_by_name_and_sorted() =>
        Assert.Equal(["repository:h/b:pull", "repository:h/tok:pull,push"], Scopes.Normalize(["repository:h/tok:push,pull", "repository:h/b:pull", "repository:h/tok:pull"]));

    [Theory]
    [InlineData("localhost", true)]
    [InlineData("localhost:5000", true)]
    [InlineData("127.9.9.9:1", true)]
    [InlineData("[::1]:5000", true)]
    [InlineData("::1", true)]
    [InlineData("example.com:5000", false)]
    [InlineData("128.0.0.1", false)]
    public void This_machine_is_recognised_by_its_loopback_names(string host, bool expected) =>
        Assert.Equal(expected, RegistryConfig.IsLocalhost(host));

    [Fact]
    public void An_empty_port_is_refused() =>
        Assert.Equal("invalid host name format", Assert.Throws<FormatException>(() => RegistryConfig.IsLocalhost("localhost:")).Message);

    [Fact]
    public async Task An_anonymous_token_is_fetched_once_for_its_scope()
    {
        await using var stub = await StubServer.StartAsync(Bearer(_ => true));
        using var client = new RegistryClient(new RegistryConfig());
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/h/a:v1"), RegistryAccess.Pull, StaticRegistryCredentials.Anonymous);
        Assert.Equal(Some, (await repository.ResolveAsync()).Digest);
        Assert.Equal(Some, (await repository.ResolveAsync()).Digest);
        Assert.Equal(
        [
            "HEAD /v2/h/a/manifests/v1",
            "GET /token?scope=repository:h/a:pull&service=reg.test",
            "HEAD /v2/h/a/manifests/v1",
            "HEAD /v2/h/a/manifests/v1",
        ], stub.Requests);
    }

    [Fact]
    public async Task A_secret_is_sent_by_get_first_and_by_post_where_get_is_refused()
    {
        var body = "";
        await using var stub = await StubServer.StartAsync(async (context, server) =>
        {
            if (context.Request.Method == "POST")
                body = await new StreamReader(context.Request.Body).ReadToEndAsync();
            await Bearer(request => request.Request.Method == "POST")(context, server);
        });
        using var client = new RegistryClient(new RegistryConfig());
        var credentials = new StaticRegistryCredentials(_ => new RegistryCredential("usr", "pass"));
        await client.Open(ImageReference.Parse($"{stub.Host}/h/tok:v1"), RegistryAccess.Pull, credentials).ResolveAsync();
        Assert.Equal(["HEAD", "GET", "POST", "HEAD"], stub.Requests.Select(request => request.Split(' ')[0]));
        Assert.Equal("client_id=buildkit-client&grant_type=password&password=pass&scope=repository%3Ah%2Ftok%3Apull&service=reg.test&username=usr", body);
    }

    [Fact]
    public async Task Refused_credentials_are_an_error_in_the_words_of_the_reference()
    {
        await using var stub = await StubServer.StartAsync(Bearer(_ => false));
        using var client = new RegistryClient(new RegistryConfig());
        var credentials = new StaticRegistryCredentials(_ => new RegistryCredential("usr", "wrong"));
        var error = await Assert.ThrowsAsync<RegistryAuthorizationException>(
            () => client.Open(ImageReference.Parse($"{stub.Host}/h/tok:v1"), RegistryAccess.Pull, credentials).ResolveAsync());
        Assert.Equal($"failed to authorize: failed to fetch oauth token: unexpected status from POST request to http://{stub.Host}/token: 401 Unauthorized", error.Message);
    }

    [Fact]
    public async Task A_token_without_the_scope_is_a_denied_push()
    {
        await using var stub = await StubServer.StartAsync((context, server) =>
        {
            if (context.Request.Path == "/token")
                return context.Response.WriteAsync("{\"token\":\"T\"}");
            var error = context.Request.Headers.Authorization.Count > 0 ? ",error=\"insufficient_scope\"" : "";
            context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"http://{server.Host}/token\",service=\"s\",scope=\"repository:h/a:pull,push\"{error}";
            context.Status(401);
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var repository = client.Open(ImageReference.Parse($"{stub.Host}/h/a"), RegistryAccess.Push, StaticRegistryCredentials.Anonymous);
        var blob = Descriptor.Of(MediaTypes.OciLayerGzip, "x"u8);
        var error = await Assert.ThrowsAsync<RegistryAuthorizationException>(() => repository.Pusher!.PushBlobAsync(blob, _ => ValueTask.FromResult<Stream>(new MemoryStream("x"u8.ToArray()))));
        Assert.Equal("push access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed", error.Message);
        Assert.Equal(["HEAD", "GET", "HEAD", "POST", "GET", "POST"], stub.Requests.Select(request => request.Split(' ')[0]));
    }

    [Fact]
    public async Task Basic_without_credentials_leaves_the_401_standing()
    {
        await using var stub = await StubServer.StartAsync((context, _) =>
        {
            context.Response.Headers.WWWAuthenticate = "Basic realm=\"x\"";
            context.Status(401);
            return Task.CompletedTask;
        });
        using var client = new RegistryClient(new RegistryConfig());
        var error = await Assert.ThrowsAsync<RegistryStatusException>(
            () => client.Open(ImageReference.Parse($"{stub.Host}/a:v1"), RegistryAccess.Pull, StaticRegistryCredentials.Anonymous).ResolveAsync());
        Assert.Equal($"unexpected status from HEAD request to http://{stub.Host}/v2/a/manifests/v1: 401 Unauthorized", error.Message);
        Assert.Single(stub.Requests);
    }

    [Fact]
    public async Task Push_tokens_are_not_shared_between_sessions_but_pull_tokens_are()
    {
        await using var stub = await StubServer.StartAsync(Bearer(_ => true));
        using var client = new RegistryClient(new RegistryConfig());
        async Task<int> TokensAfter(RegistryAccess access, string session)
        {
            var credentials = new StaticRegistryCredentials(_ => new RegistryCredential("usr", "pass"), session);
            await client.Open(ImageReference.Parse($"{stub.Host}/h/tok:v1"), access, credentials).ResolveAsync();
            return stub.Requests.Count(request => request.Contains("/token", StringComparison.Ordinal));
        }
        Assert.Equal(1, await TokensAfter(RegistryAccess.Pull, "one"));
        Assert.Equal(1, await TokensAfter(RegistryAccess.Pull, "two"));
        Assert.Equal(2, await TokensAfter(RegistryAccess.Push, "one"));
        Assert.Equal(3, await TokensAfter(RegistryAccess.Push, "two"));
    }

    [Theory]
    [InlineData("")]
    [InlineData(",error=\"invalid_token\"")]
    public async Task A_token_that_is_refused_is_asked_for_again(string error)
    {
        var (given, valid) = (0, 1);
        await using var stub = await StubServer.StartAsync(async (context, server) =>
        {
            if (context.Request.Path == "/token")
            {
                await context.Response.WriteAsync($"{{\"token\":\"T{++given}\",\"expires_in\":300}}");
            }
            else if (context.Request.Headers.Authorization != $"Bearer T{valid}")
            {
                context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"http://{server.Host}/token\",service=\"s\"{(context.Request.Headers.Authorization.Count > 0 ? error : "")}";
                context.Status(401);
            }
            else
            {
                valid = 2; // the first one is good for one request
                context.Response.ContentLength = 7;
                context.Response.Headers["Docker-Content-Digest"] = Some.ToString();
            }
        });
        using var client = new RegistryClient(new RegistryConfig());
        foreach (var tag in new[] { "v1", "v2" })
            await client.Open(ImageReference.Parse($"{stub.Host}/h/a:{tag}"), RegistryAccess.Pull, StaticRegistryCredentials.Anonymous).ResolveAsync();
        Assert.Equal(
            ["HEAD /v2/h/a/manifests/v1", "GET /token", "HEAD /v2/h/a/manifests/v1", "HEAD /v2/h/a/manifests/v2", "GET /token", "HEAD /v2/h/a/manifests/v2"],
            stub.Requests.Select(request => request.Split('?')[0]));
    }

    /// <summary>A registry with one manifest behind tokens.</summary>
    private static Func<HttpContext, StubServer, Task> Bearer(Func<HttpContext, bool> grants) => async (context, server) =>
    {
        if (context.Request.Path == "/token")
        {
            if (grants(context))
                await context.Response.WriteAsync("{\"token\":\"no\",\"access_token\":\"T\",\"expires_in\":300}");
            else
                context.Status(401);
        }
        else if (context.Request.Headers.Authorization != "Bearer T")
        {
            context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"http://{server.Host}/token\",service=\"reg.test\"";
            context.Status(401);
        }
        else
        {
            context.Response.ContentType = MediaTypes.OciManifest + "; charset=utf-8";
            context.Response.ContentLength = 7;
            context.Response.Headers["Docker-Content-Digest"] = Some.ToString();
        }
    };
}
