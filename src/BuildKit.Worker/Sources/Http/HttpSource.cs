using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Digests;

namespace BuildKit.Worker.Sources.Http;

/// <summary>
/// Files of web servers, <c>http://</c> and <c>https://</c> (spec 06 §9.4). Without a checksum the server is asked each
/// time whether the file is still the one that is here; with one, nothing is asked that the cache can answer.
/// </summary>
public sealed class HttpSource(HttpFetcher fetcher, IRefStore refs, string temporaryDirectory) : ISource
{
    private readonly KeyedLock _urls = new();
    private readonly HttpRecords _records = new(refs, temporaryDirectory);

    /// <inheritdoc/>
    public IReadOnlyList<string> Schemes => ["http", "https"];

    /// <inheritdoc/>
    public ISourceInstance Open(SourceOp operation, BuildKit.Oci.Platform platform) => new Instance(this, HttpAttributes.Parse(operation));

    /// <summary>The file as the server has it now: found here, or downloaded.</summary>
    private async Task<(string Key, HttpRecord Record)> RefreshAsync(HttpAttributes source, IOperationContext context, CancellationToken cancellationToken)
    {
        // Whoever comes second finds what the first one has downloaded.
        using var held = await _urls.AcquireAsync(source.Url, cancellationToken);
        var known = HttpFetcher.IsUpload(source.Url)
            ? new Dictionary<string, HttpRecord>(StringComparer.Ordinal)
            : await _records.FindAsync(source, cancellationToken);
        // Some servers send tags but do not understand being asked with them: those are asked for the tag alone.
        if (known.Count > 0 && await ProbeAsync(source, known, context, cancellationToken) is { } current)
            return current;
        await using var answer = await fetcher.SendAsync(HttpMethod.Get, source.Url, [.. known.Keys], context.SessionIds, cancellationToken);
        answer.CheckStatus();
        if (answer.IsNotModified)
        {
            return Match(source, known, answer)
                ?? throw new InvalidOperationException($"invalid not-modified ETag: {answer.ETag}");
        }
        var (reference, record) = await _records.SaveAsync(source, answer, cancellationToken);
        await reference.DisposeAsync();
        return (KeyOf(source, answer.Disposition, record), record);
    }

    private async Task<(string Key, HttpRecord Record)?> ProbeAsync(
        HttpAttributes source, IReadOnlyDictionary<string, HttpRecord> known, IOperationContext context, CancellationToken cancellationToken)
    {
        try
        {
            await using var answer = await fetcher.SendAsync(HttpMethod.Head, source.Url, [.. known.Keys], context.SessionIds, cancellationToken);
            return answer.Status is 200 or 304 ? Match(source, known, answer) : null;
        }
        catch (IOException)
        {
            return null; // the request that follows meets the same trouble and tells
        }
    }

    private static (string Key, HttpRecord Record)? Match(HttpAttributes source, IReadOnlyDictionary<string, HttpRecord> known, HttpAnswer answer)
    {
        // Asked about one tag, some servers leave it out of "not modified".
        var tag = answer.ETag.Length == 0 && answer.IsNotModified && known.Count == 1 ? known.Keys.Single() : answer.ETag;
        return known.TryGetValue(tag, out var record) ? (KeyOf(source, answer.Disposition, record), record) : null;
    }

    private async Task<IImmutableRef> DownloadAsync(HttpAttributes source, IOperationContext context, CancellationToken cancellationToken)
    {
        using var held = await _urls.AcquireAsync(source.Url, cancellationToken);
        await using var answer = await fetcher.SendAsync(HttpMethod.Get, source.Url, [], context.SessionIds, cancellationToken);
        answer.CheckStatus();
        return (await _records.SaveAsync(source, answer, cancellationToken)).Ref;
    }

    private static string KeyOf(HttpAttributes source, string disposition, HttpRecord record) => SourceDigest.HttpKey(
        HttpFileName.Choose(source, disposition), source.Perm, source.Uid, source.Gid, record.Checksum, record.LastModified);

    private sealed class Instance(HttpSource http, HttpAttributes source) : ISourceInstance
    {
        private HttpRecord? _record;

        public SourceMaterial Material => new HttpMaterial(source.Url);

        public async Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken)
        {
            if (!source.Checksum.IsEmpty)
            {
                var pinned = SourceDigest.HttpKey(
                    HttpFileName.Choose(source, disposition: null), source.Perm, source.Uid, source.Gid, source.Checksum, lastModified: "");
                return new SourceKey(pinned, IsLast: true) { Pin = source.Checksum.ToString() };
            }
            var (key, record) = await http.RefreshAsync(source, context, cancellationToken);
            _record = record;
            return new SourceKey(key, IsLast: true) { Pin = record.Checksum.ToString() };
        }

        public async Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken)
        {
            if (_record is not null && await http._records.OpenAsync(_record, cancellationToken) is { } reference)
                return reference;
            // The key was made without a download, or the record was removed since: now the file must be the same.
            var wanted = _record is null ? source : source with { Checksum = _record.Checksum };
            return await http.DownloadAsync(wanted, context, cancellationToken);
        }
    }
}
