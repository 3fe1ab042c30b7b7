using System.Globalization;
using BuildKit.RemoteCache.Transfer;

namespace BuildKit.RemoteCache.Backends.GitHubActions;

/// <summary>The keys of a repository's caches as GitHub's REST API lists them: a few requests instead of one per layer.</summary>
internal sealed class RepositoryCaches(StoreConnection api, ActionsRateLimit limit, ActionsCacheConfig config)
{
    private const string Api = "https://api.github.com";
    private const int PageSize = 100;

    /// <summary>Connects with the token for the list.</summary>
    public static StoreConnection Connect(HttpMessageInvoker http, TransferPolicy policy, ActionsCacheConfig config, TimeProvider time) =>
        new(http, new ActionsProtocol(config.GitHubToken), policy, time);

    /// <summary>Keys of all blobs in the token's scopes.</summary>
    public async Task<IReadOnlySet<string>> BlobKeysAsync(CancellationToken cancellationToken)
    {
        var scopes = await Task.WhenAll(config.Token.Scopes.Select(scope => scope.Name).Distinct(StringComparer.Ordinal)
            .Select(scope => KeysAsync(scope, cancellationToken))).ConfigureAwait(false);
        return scopes.SelectMany(keys => keys).ToHashSet(StringComparer.Ordinal);
    }

    private async Task<List<string>> KeysAsync(string scope, CancellationToken cancellationToken)
    {
        List<string> keys = [];
        for (var page = 1; ; page++)
        {
            var number = page.ToString(CultureInfo.InvariantCulture);
            var query = $"key={ActionsCacheConfig.BlobPrefix}&page={number}&per_page={PageSize}&ref={UrlEncoding.Encode(scope, "")}";
            var request = new StoreRequest(HttpMethod.Get, $"{Api}/repos/{config.Repository}/actions/caches?{query}")
            {
                Headers = [new("Accept", "application/vnd.github+json"), new("X-GitHub-Api-Version", "2022-11-28")],
            };
            var answer = await limit.RunAsync(
                token => api.ReadAsync(request, static (_, body) => ActionsJson.Parse(body), token), config.Timeout, api.Time, cancellationToken).ConfigureAwait(false);
            keys.AddRange(answer.Objects("actions_caches").Select(cache => cache.Text("key")));
            if ((long)page * PageSize >= answer.Number("total_count"))
                return keys;
        }
    }
}
