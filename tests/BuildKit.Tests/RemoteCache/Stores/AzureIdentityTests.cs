using Azure.Core;
using BuildKit.RemoteCache.Backends.AzureBlob;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.Tests.RemoteCache.Stores;

public sealed class AzureIdentityTests
{
    [Fact]
    public async Task A_token_is_kept_until_shortly_before_its_end()
    {
        var credential = new CountingCredential();
        var identity = new TokenIdentity(credential, TimeProvider.System);
        credential.Life = TimeSpan.FromMinutes(4);
        Assert.Equal("Bearer token1", await AuthorizeAsync(identity, "https://a.example/c"));
        credential.Life = TimeSpan.FromHours(1);
        Assert.Equal("Bearer token2", await AuthorizeAsync(identity, "https://a.example/c"));
        Assert.Equal("Bearer token2", await AuthorizeAsync(identity, "https://a.example/c"));
        Assert.Equal("https://storage.azure.com/.default", credential.Scope);
    }

    [Fact]
    public async Task A_token_that_is_refused_is_replaced_if_there_is_another()
    {
        var credential = new CountingCredential();
        IAzureIdentity identity = new TokenIdentity(credential, TimeProvider.System);
        using var refused = new HttpRequestMessage(HttpMethod.Get, "https://a.example/c");
        await identity.AuthorizeAsync(refused, default);
        Assert.True(await identity.RenewAsync(refused, default));
        // Who was refused with the old one finds that it was replaced.
        Assert.True(await identity.RenewAsync(refused, default));
        Assert.Equal("Bearer token2", await AuthorizeAsync(identity, "https://a.example/c"));
        credential.IsFixed = true;
        using var again = new HttpRequestMessage(HttpMethod.Get, "https://a.example/c");
        await identity.AuthorizeAsync(again, default);
        Assert.False(await identity.RenewAsync(again, default));
        Assert.False(await ((IAzureIdentity)new SharedKeyIdentity("acct", [1])).RenewAsync(refused, default));
    }

    [Fact]
    public async Task A_token_never_goes_over_plain_http()
    {
        var credential = new CountingCredential();
        var thrown = await Assert.ThrowsAsync<TransferException>(() => AuthorizeAsync(new TokenIdentity(credential, TimeProvider.System), "http://a.example/c"));
        Assert.Equal("authenticated requests are not permitted for non TLS protected (https) endpoints", thrown.Message);
        Assert.Equal("", credential.Scope);
    }

    [Fact]
    public void The_account_key_signs_path_query_and_headers_in_their_order()
    {
        using var message = new HttpRequestMessage(HttpMethod.Put, new Uri(
            "https://a.example/base/c/p%2Fblobs%2Fsha256:1?comp=block&blockid=QQ%3D%3D", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }))
        {
            Content = new ByteArrayContent([1, 2, 3]),
        };
        message.Content.Headers.TryAddWithoutValidation("Content-Type", "application/octet-stream");
        message.Headers.TryAddWithoutValidation("x-ms-version", "2024-11-04");
        message.Headers.TryAddWithoutValidation("x-ms-date", "Fri, 20 Nov 2026 23:56:21 GMT");
        message.Headers.TryAddWithoutValidation("If-None-Match", "*");
        message.Headers.TryAddWithoutValidation("Accept", "application/xml");
        Assert.Equal(
            "PUT\n\n\n3\n\napplication/octet-stream\n\n\n\n*\n\n\nx-ms-date:Fri, 20 Nov 2026 23:56:21 GMT\nx-ms-version:2024-11-04\n"
            + "/acct/base/c/p%2Fblobs%2Fsha256:1\nblockid:QQ==\ncomp:block",
            SharedKeyIdentity.StringToSign(message, "acct"));
    }

    private static async Task<string> AuthorizeAsync(IAzureIdentity identity, string url)
    {
        using var message = new HttpRequestMessage(HttpMethod.Get, url);
        await identity.AuthorizeAsync(message, default);
        return message.Headers.NonValidated["Authorization"].ToString();
    }

    private sealed class CountingCredential : TokenCredential
    {
        private int _count;

        public TimeSpan Life { get; set; } = TimeSpan.FromHours(1);

        public bool IsFixed { get; set; }

        public string Scope { get; private set; } = "";

        public override AccessToken GetToken(TokenRequestContext requestContext, CancellationToken cancellationToken) => throw new NotSupportedException();

        public override ValueTask<AccessToken> GetTokenAsync(TokenRequestContext requestContext, CancellationToken cancellationToken)
        {
            Scope = Assert.Single(requestContext.Scopes);
            return ValueTask.FromResult(new AccessToken($"token{(IsFixed ? _count : ++_count)}", DateTimeOffset.UtcNow + Life));
        }
    }
}
