using System.Text.Json;
using BuildKit.IntegrationTests.Support;

namespace BuildKit.IntegrationTests.EndToEnd;

/// <summary>GitHub's own cache client, used against the stand-in for its service: what the gha cache is tested with is the real protocol.</summary>
public sealed class ActionsServiceTests
{
    private const string Script = """
        const fs = require('fs'), crypto = require('crypto'), path = require('path');
        const cache = require('@actions/cache');
        const utils = require('@actions/cache/lib/internal/cacheUtils');
        const downloads = require('@actions/cache/lib/internal/downloadUtils');
        const results = {};
        const hash = file => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');
        async function main() {
            fs.mkdirSync('files');
            fs.writeFileSync('files/big', crypto.randomBytes(5 * 1024 * 1024 + 17));
            const before = hash('files/big');
            results.miss = await cache.restoreCache(['files'], 'deps-1', ['deps-']) ?? 'none';
            results.saved = await cache.saveCache(['files'], 'deps-1', { uploadChunkSize: 1024 * 1024 }) > 0;
            results.again = await cache.saveCache(['files'], 'deps-1');
            await cache.saveCache(['files'], 'deps-2');
            fs.rmSync('files', { recursive: true });
            results.exact = await cache.restoreCache(['files'], 'deps-1');
            results.isSame = hash('files/big') === before;
            results.newest = await cache.restoreCache(['files'], 'deps-9', ['other-', 'deps-']);
            results.otherVersion = await cache.restoreCache(['elsewhere'], 'deps-1') ?? 'none';
            process.env.ACTIONS_RUNTIME_TOKEN = process.env.FEATURE_TOKEN;
            results.parentScope = await cache.restoreCache(['files'], 'deps-1');
            results.ownScope = await cache.saveCache(['files'], 'deps-1') > 0;
            process.env.ACTIONS_RUNTIME_TOKEN = process.env.READER_TOKEN;
            results.reader = await cache.restoreCache(['files'], 'deps-2');
            results.readerSaves = await cache.saveCache(['files'], 'deps-3');
            process.env.ACTIONS_RUNTIME_TOKEN = process.env.MAIN_TOKEN;
            if (process.env.ACTIONS_CACHE_SERVICE_V2) {
                const { BlockBlobClient } = require('@azure/storage-blob');
                const client = require('@actions/cache/lib/internal/shared/cacheTwirpClient').internalCacheTwirpClient();
                const entry = { key: 'blocks', version: 'v' };
                const { signedUploadUrl } = await client.CreateCacheEntry(entry);
                await new BlockBlobClient(signedUploadUrl).uploadFile('files/big', { blockSize: 1 << 20, maxSingleShotSize: 1 << 20, concurrency: 4 });
                results.invisible = (await client.GetCacheEntryDownloadURL({ ...entry, restoreKeys: [] })).ok;
                results.finalized = (await client.FinalizeCacheEntryUpload({ ...entry, sizeBytes: `${fs.statSync('files/big').size}` })).ok;
                const { signedDownloadUrl } = await client.GetCacheEntryDownloadURL({ ...entry, restoreKeys: [] });
                await downloads.downloadCacheStorageSDK(signedDownloadUrl, 'copy', { timeoutInMs: 30000, segmentTimeoutInMs: 30000, downloadConcurrency: 4 });
            } else {
                const http = require('@actions/cache/lib/internal/cacheHttpClient');
                const entry = await http.getCacheEntry(['deps-1'], ['files'], { compressionMethod: await utils.getCompressionMethod() });
                results.scope = entry.scope;
                fs.renameSync('files/big', 'files/moved');
                await downloads.downloadCacheHttpClient(entry.archiveLocation, 'whole');
                await downloads.downloadCacheHttpClientConcurrent(entry.archiveLocation, 'copy', { timeoutInMs: 30000, downloadConcurrency: 4 });
                fs.renameSync('whole', 'files/big');
            }
            results.ranges = hash('copy') === hash('files/big');
        }
        main().then(() => console.log('RESULTS ' + JSON.stringify(results)), error => { console.error(error); process.exit(1); });
        """;

    [RequiresTheory("node", "tar", "@actions/cache")]
    [InlineData(1)]
    [InlineData(2)]
    public async Task GitHubs_own_client_saves_and_restores(int version)
    {
        await using var service = await ActionsService.StartAsync();
        using var temp = new TempDirectory();
        var main = service.IssueToken(("refs/heads/main", 3));
        var result = (await Programs.RunAsync(Requirement.Locate("node")!, ["-e", Script], new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            ["NODE_PATH"] = Requirement.NodeModules,
            ["RUNNER_TEMP"] = temp.Path,
            ["GITHUB_WORKSPACE"] = temp.Path,
            ["GITHUB_SERVER_URL"] = null,
            ["ACTIONS_CACHE_URL"] = $"http://{service.Host}/",
            ["ACTIONS_RESULTS_URL"] = $"http://{service.Host}/",
            ["ACTIONS_CACHE_SERVICE_V2"] = version == 2 ? "true" : null,
            ["ACTIONS_RUNTIME_TOKEN"] = main,
            ["MAIN_TOKEN"] = main,
            ["FEATURE_TOKEN"] = service.IssueToken(("refs/heads/feature", 3), ("refs/heads/main", 1)),
            ["READER_TOKEN"] = service.IssueToken(("refs/heads/main", 1)),
            ["no_proxy"] = "127.0.0.1",
        }, workingDirectory: temp.Path)).Succeeded();
        var line = Assert.Single(result.Text.Split('\n'), l => l.StartsWith("RESULTS ", StringComparison.Ordinal));
        using var results = JsonDocument.Parse(line["RESULTS ".Length..]);
        string Of(string name) => results.RootElement.TryGetProperty(name, out var value) ? value.ToString() : "undefined";
        Assert.True(Of("miss") == "none" && Of("otherVersion") == "none", result.Text);
        Assert.Equal(("True", "-1"), (Of("saved"), Of("again")));
        Assert.Equal(("deps-1", "True", "deps-2"), (Of("exact"), Of("isSame"), Of("newest")));
        Assert.Equal(("deps-1", "True"), (Of("parentScope"), Of("ownScope")));
        Assert.Equal(("deps-2", "-1"), (Of("reader"), Of("readerSaves")));
        Assert.Equal("True", Of("ranges"));
        if (version == 2)
            Assert.Equal(("False", "True"), (Of("invisible"), Of("finalized")));
        else
            Assert.Equal("refs/heads/main", Of("scope"));
        string[] expected = ["refs/heads/main deps-1", "refs/heads/main deps-2", "refs/heads/feature deps-1"];
        Assert.Equal(version == 2 ? [.. expected, "refs/heads/main blocks"] : expected, service.Entries);
    }
}
