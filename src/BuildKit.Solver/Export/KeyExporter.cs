using System.Runtime.CompilerServices;

namespace BuildKit.Solver;

/// <summary>Exports one key, its result and everything below it (spec 03 §12).</summary>
internal sealed class KeyExporter(CacheKey key) : ICacheExporter
{
    /// <summary>The record the key's result came from.</summary>
    public CacheRecord? Record { get; init; }

    /// <summary>Records that were found for the key, when no single one was used.</summary>
    public IReadOnlyList<CacheRecord> Candidates { get; init; } = [];

    /// <summary>The edge the key belongs to.</summary>
    public EdgeNode? Edge { get; init; }

    public async Task<IReadOnlyList<ICacheExporterRecord>> ExportToAsync(
        ICacheExporterTarget target, CacheExportOptions options, CancellationToken cancellationToken)
    {
        if (target.TryGetVisited(this, out var visited))
            return visited;
        target.Visit(this, []);
        await MoreStackAsync();

        var digest = CacheKey.RecordDigest(key.Digest, key.Output);
        List<ICacheExporterRecord> records = [target.Add(digest)];
        var own = records[0];
        var record = Record ?? Candidates.OrderByDescending(r => r.CreatedAt).ThenByDescending(r => r.Priority).FirstOrDefault();

        if (record is not null && (options.ExportRoots || key.Dependencies.Count > 0) && Edge?.Edge.Vertex.Options.ExportCache != false)
        {
            var remotes = await GetRemotesAsync(record, options, cancellationToken).ConfigureAwait(false);
            for (var i = 0; i < remotes.Count; i++)
            {
                if (i > 0)
                    records.Add(target.Add(digest));
                records[i].AddResult(Edge?.State.OriginalDigest ?? default, key.Output, record.CreatedAt, remotes[i]);
            }
            if (remotes.Count > 0 && options.Mode == CacheExportMode.Min)
                options = options with { Mode = CacheExportMode.RemoteOnly };
        }

        for (var input = 0; input < key.Dependencies.Count; input++)
        {
            foreach (var dependency in key.Dependencies[input])
                await LinkAsync(target, records, input, dependency, options, cancellationToken).ConfigureAwait(false);
        }
        if (Edge is not null)
        {
            foreach (var secondary in Edge.SecondaryKeys)
                await LinkAsync(target, records, secondary.Input, secondary.Key, options, cancellationToken).ConfigureAwait(false);
        }
        if (!options.IgnoreBacklinks)
        {
            foreach (var (manager, id) in key.Ids)
                await AddBacklinksAsync(target, own, manager, id).ConfigureAwait(false);
        }
        if (record?.Manager is LocalCacheManager stored && key.Dependencies.Count == 0)
        {
            var ownId = stored.IdOf(key);
            foreach (var alias in stored.GetKeysOfResult(record.Id))
            {
                if (alias != ownId)
                    records.Add(target.Add(BuildKit.Oci.Digest.Unchecked(alias)));
            }
        }
        target.Visit(this, records);
        return records;
    }

    private async Task<IReadOnlyList<object>> GetRemotesAsync(CacheRecord record, CacheExportOptions options, CancellationToken cancellationToken)
    {
        var context = Edge?.Context;
        IReadOnlyList<object> existing = record.Manager is LocalCacheManager stored
            ? await stored.LoadRemotesAsync(context, record, options.Compression, options.SessionIds, cancellationToken).ConfigureAwait(false)
            : [];
        if (options.Mode == CacheExportMode.RemoteOnly || (existing.Count > 0 && options.Compression is null))
            return existing;
        var result = await record.Manager.LoadAsync(context, record, cancellationToken).ConfigureAwait(false);
        if (result is null)
            return existing;
        await using (result.ConfigureAwait(false))
        {
            var made = await options.ResolveRemotes(result, cancellationToken).ConfigureAwait(false);
            return [.. existing, .. made];
        }
    }

    private static async Task LinkAsync(
        ICacheExporterTarget target, List<ICacheExporterRecord> records, int input, CacheKeyWithSelector dependency,
        CacheExportOptions options, CancellationToken cancellationToken)
    {
        var exporter = dependency.Exporter ?? new KeyExporter(dependency.Key);
        IReadOnlyList<ICacheExporterRecord> linked;
        try
        {
            linked = await exporter.ExportToAsync(target, options, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            // What cannot be exported is left out; a record that loses an input by this is dropped when the graph is
            // written (spec 04 §3.1).
            return;
        }
        foreach (var below in linked)
        {
            foreach (var record in records)
                record.LinkFrom(below, input, dependency.Selector);
        }
    }

    /// <summary>Adds the other ways earlier builds found to the same key.</summary>
    private static async ValueTask AddBacklinksAsync(ICacheExporterTarget target, ICacheExporterRecord start, LocalCacheManager manager, string id)
    {
        var done = new Dictionary<string, ICacheExporterRecord?>(StringComparer.Ordinal) { [id] = start };
        await AddAsync(id, start).ConfigureAwait(false);

        async ValueTask<ICacheExporterRecord> AddAsync(string keyId, ICacheExporterRecord? record)
        {
            await MoreStackAsync();
            done[keyId] = record;
            foreach (var (source, link) in manager.GetBacklinks(keyId))
            {
                record ??= target.Add(link.Digest);
                done[keyId] = record;
                if (!done.TryGetValue(source, out var below))
                    below = await AddAsync(source, null).ConfigureAwait(false);
                if (below is not null)
                    record.LinkFrom(below, link.Input, link.Selector);
            }
            record ??= target.Add(BuildKit.Oci.Digest.Unchecked(keyId));
            done[keyId] = record;
            return record;
        }
    }

    /// <summary>Goes on with another thread's stack when this one's comes to its end: keys may be linked deeper than a stack
    /// is.</summary>
    private static async ValueTask MoreStackAsync()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
            await Task.Yield();
    }
}

/// <summary>Exports a key together with the graphs its operation built below itself.</summary>
internal sealed class MergedExporter(IReadOnlyList<ICacheExporter> exporters) : ICacheExporter
{
    public async Task<IReadOnlyList<ICacheExporterRecord>> ExportToAsync(
        ICacheExporterTarget target, CacheExportOptions options, CancellationToken cancellationToken)
    {
        List<ICacheExporterRecord> records = [];
        foreach (var exporter in exporters)
            records.AddRange(await exporter.ExportToAsync(target, options, cancellationToken).ConfigureAwait(false));
        return records;
    }
}
