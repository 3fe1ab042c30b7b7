using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// The operation of one active vertex, shared by all its edges and builds: each question is asked once, answers and
/// real errors are remembered, cancellations are not (spec 03 §4).
/// </summary>
internal sealed class SharedOperation(VertexState state, IOperationResolver resolver)
{
    private readonly Lock _gate = new();
    private readonly SingleFlight<CacheMapResponse> _mapFlight = new();
    private readonly SingleFlight<bool> _executeFlight = new();
    private readonly Dictionary<int, SingleFlight<Digest>> _slowFlights = [];
    private readonly Dictionary<int, Answer<Digest>> _slowDigests = [];
    private readonly List<CacheMap> _maps = [];
    private bool _lastMap;
    private Exception? _mapError;
    private Answer<IReadOnlyList<IResult?>>? _executed;
    private SubBuilder? _subBuilder;
    private Answer<IOperation>? _operation;
    private bool _released;

    /// <summary>The context this vertex' work sees.</summary>
    public OperationContext Context { get; } = new(state);

    /// <summary>Keys of the graphs the operation built below itself.</summary>
    public IReadOnlyList<ExportableCacheKey> SubBuildKeys
    {
        get
        {
            lock (_gate)
                return _subBuilder?.Keys ?? [];
        }
    }

    /// <summary>The operation if somebody asked for it already.</summary>
    public IOperation? ResolvedOperation
    {
        get
        {
            lock (_gate)
                return _operation?.Value;
        }
    }

    /// <summary>Options of every cache map made so far.</summary>
    public IReadOnlyList<IReadOnlyDictionary<object, object>> CacheOptions
    {
        get
        {
            lock (_gate)
                return _maps.ConvertAll(m => m.Options);
        }
    }

    public Task<CacheMapResponse> GetCacheMapAsync(int index, CancellationToken cancellationToken) =>
        _mapFlight.RunAsync(token => MakeCacheMapAsync(index, token), cancellationToken);

    public Task<Digest> ComputeSlowDigestAsync(int input, CacheMapDependency map, IResult? result, CancellationToken cancellationToken)
    {
        SingleFlight<Digest>? flight;
        lock (_gate)
        {
            if (!_slowFlights.TryGetValue(input, out flight))
                _slowFlights[input] = flight = new SingleFlight<Digest>();
        }
        return flight.RunAsync(token => MakeSlowDigestAsync(input, map, result, token), cancellationToken);
    }

    /// <summary>Executes, unless that was done; another handle on one of the results.</summary>
    public async Task<IResult?> ExecuteAsync(int output, IReadOnlyList<IResult?> inputs, ObservedStep? observed, CancellationToken cancellationToken)
    {
        await _executeFlight.RunAsync(token => ExecuteOnceAsync(inputs, observed, token), cancellationToken).ConfigureAwait(false);
        lock (_gate)
        {
            var outputs = _executed!.Value.Get();
            if (output >= outputs.Count)
                throw Wrap(new InvalidOperationException($"invalid output index {output}: the operation has {outputs.Count} outputs"));
            ObjectDisposedException.ThrowIf(_released, this);
            return outputs[output]?.Clone();
        }
    }

    public async Task<IResult?> LoadAsync(ICacheManager cache, CacheRecord record, CancellationToken cancellationToken)
    {
        state.ReportStarted(cached: true);
        Exception? error = null;
        try
        {
            return await cache.LoadAsync(Context, record, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            error = e;
            throw;
        }
        finally
        {
            // A load that fails is no failure of the vertex: another record, or execution, follows.
            if (error is null)
                state.ReportCompleted(cached: true, null);
        }
    }

    /// <summary>Gives up the results kept for edges that ask later.</summary>
    public void Release()
    {
        lock (_gate)
        {
            _released = true;
            if (_executed is { Error: null, Value: { } outputs })
            {
                foreach (var output in outputs)
                    state.DisposeLater(output);
            }
            else if (_executed is { Error: { } error })
            {
                ReleaseHeld(error);
            }
        }
    }

    private async Task<CacheMapResponse> MakeCacheMapAsync(int index, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_mapError is not null)
                throw _mapError;
            if (index < _maps.Count || _lastMap)
                return Existing(Math.Min(index, _maps.Count - 1));
        }
        var isSource = state.Vertex.Inputs.Count == 0;
        if (isSource)
            state.ReportStarted(cached: false);
        try
        {
            var response = await Resolve().GetCacheMapAsync(Context, _maps.Count, cancellationToken).ConfigureAwait(false);
            lock (_gate)
            {
                _maps.Add(response.Map);
                _lastMap = response.Complete;
                if (isSource)
                    state.ReportCompleted(cached: false, null);
                return Existing(Math.Min(index, _maps.Count - 1));
            }
        }
        catch (Exception e)
        {
            if (isSource)
                state.ReportCompleted(cached: false, Text(e, cancellationToken));
            if (cancellationToken.IsCancellationRequested)
                throw;
            var wrapped = Wrap(e);
            lock (_gate)
                _mapError = wrapped;
            throw wrapped;
        }

        CacheMapResponse Existing(int i) => new(_maps[i], _lastMap && i == _maps.Count - 1);
    }

    private async Task<Digest> MakeSlowDigestAsync(int input, CacheMapDependency map, IResult? result, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_slowDigests.TryGetValue(input, out var known))
                return known.Get();
        }
        try
        {
            if (map.Preprocess is not null)
                await map.Preprocess(Context, result, cancellationToken).ConfigureAwait(false);
            var digest = map.ComputeDigest is null ? default : await map.ComputeDigest(Context, result, cancellationToken).ConfigureAwait(false);
            lock (_gate)
                _slowDigests[input] = new Answer<Digest>(digest, null);
            return digest;
        }
        catch (Exception e)
        {
            if (cancellationToken.IsCancellationRequested)
                throw;
            var wrapped = Wrap(new SlowCacheException(input, result, e));
            lock (_gate)
                _slowDigests[input] = new Answer<Digest>(default, wrapped);
            state.ReportStarted(cached: false);
            state.ReportCompleted(cached: false, e.Message);
            throw wrapped;
        }
    }

    private async Task<bool> ExecuteOnceAsync(IReadOnlyList<IResult?> inputs, ObservedStep? observed, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (_executed is { } known)
            {
                known.Get();
                return true;
            }
        }
        var started = false;
        IStepObservation? observation = null;
        try
        {
            var operation = Resolve();
            using var slot = await operation.AcquireSlotAsync(cancellationToken).ConfigureAwait(false);
            started = true;
            state.ReportStarted(cached: false);
            if (observed is not null)
                state.Solver.Observe(observer => observation = observer.OnExecuting(observed with { Operation = operation }));
            var outputs = await operation.ExecuteAsync(Context, inputs, cancellationToken).ConfigureAwait(false);
            state.ReportCompleted(cached: false, null);
            if (observation is not null)
                await state.Solver.ObserveAsync(_ => observation.CompletedAsync(outputs, null)).ConfigureAwait(false);
            lock (_gate)
            {
                _executed = new Answer<IReadOnlyList<IResult?>>(outputs, null);
                if (_released)
                {
                    foreach (var output in outputs)
                        state.DisposeLater(output);
                }
            }
            return true;
        }
        catch (Exception e)
        {
            if (started)
                state.ReportCompleted(cached: false, Text(e, cancellationToken));
            if (observation is not null)
                await state.Solver.ObserveAsync(_ => observation.CompletedAsync([], e)).ConfigureAwait(false);
            if (cancellationToken.IsCancellationRequested)
            {
                ReleaseHeld(e);
                throw;
            }
            var wrapped = Wrap(e);
            lock (_gate)
            {
                _executed = new Answer<IReadOnlyList<IResult?>>([], wrapped);
                if (_released)
                    ReleaseHeld(wrapped);
            }
            throw wrapped;
        }
    }

    /// <summary>An error of a vertex further down is released with that vertex.</summary>
    private void ReleaseHeld(Exception error)
    {
        for (var e = error; e is not null && !(e is VertexException other && other.Vertex != state.OriginalDigest); e = e.InnerException)
        {
            if (e is IResultHolder holder)
            {
                foreach (var result in holder.HeldResults)
                    state.DisposeLater(result);
            }
        }
    }

    private IOperation Resolve()
    {
        lock (_gate)
        {
            if (_operation is null)
            {
                _subBuilder = new SubBuilder(state);
                try
                {
                    _operation = new Answer<IOperation>(resolver.Resolve(state.Vertex, _subBuilder), null);
                }
                catch (Exception e)
                {
                    _operation = new Answer<IOperation>(null!, e);
                }
            }
            return _operation.Value.Get();
        }
    }

    private VertexException Wrap(Exception cause) =>
        cause as VertexException is { } already && already.Vertex == state.OriginalDigest
            ? already
            : new VertexException(state.OriginalDigest, state.Vertex.Operation, state.Vertex.Options.Description, cause);

    private static string Text(Exception e, CancellationToken cancellationToken) =>
        cancellationToken.IsCancellationRequested ? "context canceled" : e.Message;

    /// <summary>A value or the error that came instead, for good.</summary>
    private readonly record struct Answer<TValue>(TValue Value, Exception? Error)
    {
        public TValue Get() => Error is null ? Value : throw Error;
    }
}
