using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>How an edge takes in news (spec 03 §5.2–§5.4).</summary>
internal sealed partial class EdgeNode
{
    /// <summary>Takes in what one pipe brought; true when the edge's bounds must be computed anew.</summary>
    private async ValueTask<bool> TakeInAsync(Pipe pipe)
    {
        if (pipe == _mapRequest)
            return pipe.Status.Completed && await TakeInCacheMapAsync(pipe.Status).ConfigureAwait(false);
        if (pipe == _execRequest)
            return pipe.Status.Completed && TakeInResult(pipe.Status);
        if (_requests.TryGetValue(pipe, out var asked))
        {
            if (pipe.Status.Completed)
                _requests.Remove(pipe);
            return await TakeInDependencyAsync(asked, pipe.Status).ConfigureAwait(false);
        }
        foreach (var dependency in _dependencies)
        {
            if (pipe == dependency.SlowRequest)
                return pipe.Status.Completed && await TakeInSlowDigestAsync(dependency, pipe.Status).ConfigureAwait(false);
        }
        // Work of an edge that was merged into this one.
        if (pipe.Status is { Completed: true, Value: CachedResult orphan } && pipe.Function is not null)
            State.DisposeLater(orphan.Result);
        return false;
    }

    private async ValueTask<bool> TakeInCacheMapAsync(PipeStatus status)
    {
        if (status.Error is not null)
        {
            _mapRequest = null;
            if (!status.Canceled)
                Error ??= status.Error;
            return true;
        }
        var response = (CacheMapResponse)status.Value!;
        _map = response.Map;
        _mapDone = response.Complete;
        _mapIndex++;
        if (_dependencies.Length == 0)
        {
            _mapDigests.Add(_map.Digest);
            if (!IgnoreCache)
            {
                foreach (var key in await State.Cache.QueryAsync([], 0, _map.Digest, Edge.Index, CancellationToken.None).ConfigureAwait(false))
                    await AddExportableKeyAsync(key).ConfigureAwait(false);
            }
            _status = EdgeStatus.CacheSlow;
        }
        if (AllDependenciesHave(candidates: false))
            KeysDidChange = true;
        foreach (var dependency in _dependencies)
        {
            await ProbeAsync(dependency, dependency.DefinitionKeys(SelectorOf(dependency))).ConfigureAwait(false);
            CheckMatchPossible(dependency);
        }
        if (!_mapDone)
            _mapRequest = null;
        return true;
    }

    private bool TakeInResult(PipeStatus status)
    {
        if (status.Error is null)
        {
            var result = (CachedResult)status.Value!;
            if (IsReleased)
            {
                State.DisposeLater(result.Result);
                return true;
            }
            _result = result;
            _status = EdgeStatus.Complete;
            return true;
        }
        _execRequest = null;
        if (_loadingRecord is not null)
        {
            // A load that failed is never tried again; one that nobody waited for any more may be.
            if (status.Canceled)
            {
                _recordsTried.Remove(_loadingRecord);
            }
            else
            {
                foreach (var id in _recordsTried)
                    _records.Remove(id);
                _failedLoads.Add(new FailedLoad(_loadingRecord, status.Error.InnerException ?? status.Error));
            }
            _loadingRecord = null;
        }
        else if (!status.Canceled)
        {
            Error ??= status.Error;
        }
        return true;
    }

    private async ValueTask<bool> TakeInDependencyAsync(EdgeDependency dependency, PipeStatus status)
    {
        if (status is { Completed: true, Canceled: false, Error: { } error })
            Error ??= error;
        if (status.Value is not EdgeSnapshot snapshot)
            return status.Error is not null;

        var changed = false;
        dependency.LastSeen = snapshot;
        var added = dependency.AddKeys(snapshot);
        if (added.Count > 0)
        {
            if (_map is not null)
            {
                var selector = SelectorOf(dependency);
                await ProbeAsync(dependency, added.Select(k => new CacheKeyWithSelector(k.Key, selector) { Exporter = k.Exporter })).ConfigureAwait(false);
                if (AllDependenciesHave(candidates: false))
                    KeysDidChange = true;
            }
            changed = true;
        }
        // After a merge the new provider may be behind what the old one said; it will catch up.
        if (snapshot.Status <= dependency.Status)
            return changed;
        if (snapshot.Status == EdgeStatus.Complete)
        {
            dependency.Result = snapshot.Result;
            KeysDidChange = true;
        }
        dependency.Status = snapshot.Status;
        if (_map is not null)
        {
            CheckMatchPossible(dependency);
            changed = true;
        }
        return changed;
    }

    private async ValueTask<bool> TakeInSlowDigestAsync(EdgeDependency dependency, PipeStatus status)
    {
        if (status.Error is not null)
        {
            dependency.SlowRequest = null;
            if (!status.Canceled)
                Error ??= status.Error;
            return true;
        }
        if (dependency.SlowDone)
            return false;
        var digest = (Digest)status.Value!;
        if (HasSlowDigest(dependency) && !digest.IsEmpty)
        {
            var key = CacheKey.Root(digest, -1);
            var exporter = new KeyExporter(key);
            dependency.SlowKey = new ExportableCacheKey(key, exporter);
            var slow = new CacheKeyWithSelector(key, default) { Exporter = exporter };
            dependency.SlowFoundKey = await ProbeAsync(dependency, [slow]).ConfigureAwait(false);
            // Only for its side effect: what was found by content can be found by definition from now on (spec 03 §7.3).
            await QueryAsync([.. dependency.ResultKeys(SelectorOf(dependency))], dependency.Index).ConfigureAwait(false);
        }
        dependency.SlowDone = true;
        KeysDidChange = true;
        CheckMatchPossible(dependency);
        return true;
    }

    /// <summary>Without a candidate key through one input there is none at all: everything is evaluated.</summary>
    private void CheckMatchPossible(EdgeDependency dependency)
    {
        if (dependency.Candidates.Count > 0)
            return;
        var hopeless = HasSlowDigest(dependency)
            ? dependency.SlowDone && !dependency.SlowFoundKey
            : dependency.Status >= EdgeStatus.CacheSlow;
        if (hopeless)
            _noMatchPossible = true;
    }

    /// <summary>Looks for keys of this edge that are reachable from keys of an input; true when one was found.</summary>
    private async ValueTask<bool> ProbeAsync(EdgeDependency dependency, IEnumerable<CacheKeyWithSelector> keys)
    {
        List<CacheKeyWithSelector> from = [.. keys];
        if (from.Count == 0 || IgnoreCache)
            return false;
        var found = await QueryAsync(from, dependency.Index).ConfigureAwait(false);
        foreach (var key in found)
            dependency.Candidates.TryAdd(key.Id, key);
        return found.Count > 0;
    }

    private async ValueTask<IReadOnlyList<CacheKey>> QueryAsync(IReadOnlyList<CacheKeyWithSelector> keys, int input)
    {
        try
        {
            return await State.Cache.QueryAsync(keys, input, _map!.Digest, Edge.Index, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            Error ??= new SolveException($"error on cache query: {e.Message}", e);
            return [];
        }
    }

    /// <summary>Combines candidate keys and computes how far this edge has come (spec 03 §5.3).</summary>
    private async ValueTask RecalculateAsync()
    {
        await CombineKeysAsync().ConfigureAwait(false);
        if (_map is null)
            return;

        var low = EdgeStatus.Initial;
        var high = EdgeStatus.CacheSlow;
        bool allFast = true, allSlow = true, allStateSlow = true, allComplete = true;
        foreach (var d in _dependencies)
        {
            var slowIncomplete = SlowIncomplete(d, HasSlowDigest(d));
            var anyIncomplete = SlowIncomplete(d, HasSlowDigest(d) || HasPreprocess(d));
            if (d.Status > low && d.Candidates.Count == 0 && !anyIncomplete)
                low = Min(d.Status, EdgeStatus.CacheSlow);
            high = Min(high, slowIncomplete ? Min(d.Status, EdgeStatus.CacheFast) : d.Status);
            allComplete &= !anyIncomplete && d.Status == EdgeStatus.Complete;
            allFast &= d.Status >= EdgeStatus.CacheFast;
            allSlow &= !slowIncomplete && d.Status >= EdgeStatus.CacheSlow;
            allStateSlow &= d.Status >= EdgeStatus.CacheSlow || d.Candidates.Count > 0;
        }
        if (_status < EdgeStatus.Complete)
        {
            _status = Max(_status, Max(low, high));
            if (!_mapDone && _keys.Count == 0)
                _status = EdgeStatus.Initial;
        }
        _allFast = _mapDone && allFast;
        _allSlow = _mapDone && allSlow;
        _allStateSlow = _mapDone && allStateSlow;
        _allComplete = _mapDone && allComplete;

        if (_allStateSlow && _records.Count > 0 && _status == EdgeStatus.CacheFast && NoMoreKeysPossible())
            _status = EdgeStatus.CacheSlow;
    }

    private static bool SlowIncomplete(EdgeDependency d, bool relevant) =>
        relevant && (d.Status == EdgeStatus.CacheSlow || (d.Status == EdgeStatus.Complete && !d.SlowDone));

    /// <summary>Whether the inputs that are finished rule out any further combined key.</summary>
    private bool NoMoreKeysPossible()
    {
        HashSet<string>? open = null;
        foreach (var d in _dependencies)
        {
            if (SlowIncomplete(d, HasSlowDigest(d)))
                continue;
            var uncombined = d.Candidates.Keys.Where(id => !_combinedKeys.Contains(id));
            if (open is null)
                open = new HashSet<string>(uncombined, StringComparer.Ordinal);
            else
                open.IntersectWith(uncombined);
            if (open.Count == 0)
                return true;
        }
        return false;
    }

    private async ValueTask CombineKeysAsync()
    {
        if (_dependencies.Length == 0)
            return;
        foreach (var (id, found) in _dependencies[0].Candidates)
        {
            if (_combinedKeys.Contains(id) || !Array.TrueForAll(_dependencies, d => d.Candidates.ContainsKey(id)))
                continue;
            _combinedKeys.Add(id);
            await AddExportableKeyAsync(found.WithDependencies(_dependencies.Select(KnownKeys).ToList())).ConfigureAwait(false);
        }
    }

    private IReadOnlyList<CacheKeyWithSelector> KnownKeys(EdgeDependency dependency)
    {
        var selector = SelectorOf(dependency);
        return dependency.Result is not null ? [.. dependency.ResultKeys(selector)] : [.. dependency.DefinitionKeys(selector)];
    }

    private async ValueTask AddExportableKeyAsync(CacheKey key)
    {
        IReadOnlyList<CacheRecord> records;
        try
        {
            records = await State.Cache.GetRecordsAsync(_operation.Context, key, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            Error ??= new SolveException($"error on cache query: {e.Message}", e);
            return;
        }
        foreach (var record in records)
        {
            if (!_recordsTried.Contains(record.Id))
                _records[record.Id] = record;
        }
        _keys.Add(new ExportableCacheKey(key, new KeyExporter(key) { Candidates = records, Edge = this }));
    }

    private static EdgeStatus Min(EdgeStatus a, EdgeStatus b) => a < b ? a : b;

    private static EdgeStatus Max(EdgeStatus a, EdgeStatus b) => a > b ? a : b;
}
