using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Exporters;
using BuildKit.Worker.Results;

namespace BuildKit.Daemon.Solving;

/// <summary>
/// A result that is computed when somebody needs it, once. A failure is kept; an attempt that was cancelled is
/// not, the next caller starts anew (spec 03 §1.3).
/// </summary>
public sealed class LazyResult : IAsyncDisposable
{
    private readonly Func<CancellationToken, Task<CachedResult>> _build;
    private readonly Func<IReadOnlyList<(Vertex Vertex, IOperation Operation)>> _operations;
    private readonly SemaphoreSlim _turn = new(1, 1);
    // Borrowers may still hold what was given up.
    private readonly List<CachedResult> _unusable = [];
    private CachedResult? _result;
    private System.Runtime.ExceptionServices.ExceptionDispatchInfo? _failure;
    private bool _released;

    internal LazyResult(
        Definition definition, Func<CancellationToken, Task<CachedResult>> build, Func<IReadOnlyList<(Vertex Vertex, IOperation Operation)>> operations)
    {
        Definition = definition;
        _build = build;
        _operations = operations;
    }

    /// <summary>What it is the result of.</summary>
    public Definition Definition { get; }

    /// <summary>Whether it was computed.</summary>
    public bool IsEvaluated => _result is not null;

    /// <summary>The operations it was computed with, and those it was found in the cache by.</summary>
    public IReadOnlyList<(Vertex Vertex, IOperation Operation)> ResolvedOperations() => _operations();

    /// <summary>The result; borrowed, valid until this object is disposed.</summary>
    public async Task<CachedResult> EvaluateAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            if (_released)
                throw new InvalidOperationException("evaluating released result");
            _failure?.Throw();
            if (_result is not null)
                return _result;
            try
            {
                return _result = await _build(cancellationToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                _failure = System.Runtime.ExceptionServices.ExceptionDispatchInfo.Capture(exception);
                throw;
            }
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Gives up a result that proved unusable: the next caller starts anew.</summary>
    public async Task RenewAsync(Func<CachedResult, bool> isUnusable)
    {
        await _turn.WaitAsync();
        try
        {
            if (_result is not { } result || !isUnusable(result))
                return;
            _result = null;
            _unusable.Add(result);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>The ref of the result; borrowed, null for an empty tree.</summary>
    public async Task<IImmutableRef?> EvaluateRefAsync(CancellationToken cancellationToken) =>
        WorkerResult.RefOf((await EvaluateAsync(cancellationToken)).Result);

    /// <summary>Gives the result up.</summary>
    public async ValueTask DisposeAsync()
    {
        await _turn.WaitAsync();
        try
        {
            if (_released)
                return;
            _released = true;
            if (_result is not null)
                await _result.DisposeAsync();
            foreach (var result in _unusable)
                await result.DisposeAsync();
        }
        finally
        {
            _turn.Release();
        }
    }
}

/// <summary>What a frontend or a definition made: one result or several by platform, with metadata.</summary>
public sealed class BuildResult
{
    /// <summary>The single result; null for an empty tree.</summary>
    public LazyResult? Ref { get; set; }

    /// <summary>Results by platform id.</summary>
    public Dictionary<string, LazyResult?> Refs { get; } = new(StringComparer.Ordinal);

    /// <summary>Whether the result is keyed, even if by nothing.</summary>
    public bool IsKeyed { get; set; }

    /// <summary>Metadata for exporters.</summary>
    public Dictionary<string, byte[]> Metadata { get; } = new(StringComparer.Ordinal);

    /// <summary>Attestations by platform id, as the gateway describes them.</summary>
    public Dictionary<string, List<BuildAttestation>> Attestations { get; } = new(StringComparer.Ordinal);

    /// <summary>Adds an attestation about a platform's result.</summary>
    public void AddAttestation(string platform, BuildAttestation attestation)
    {
        if (!Attestations.TryGetValue(platform, out var list))
            Attestations.Add(platform, list = []);
        list.Add(attestation);
    }

    /// <summary>The result for a platform id, null for an empty tree; false when there is none. A single one serves every id.</summary>
    public bool TryFind(string platform, out LazyResult? found)
    {
        if (!IsKeyed)
        {
            found = Ref;
            return true;
        }
        if (Refs.TryGetValue(platform, out found))
            return true;
        found = Refs.Count == 1 ? Refs.Values.First() : null;
        return Refs.Count == 1;
    }

    /// <summary>Every result, the empty ones left out.</summary>
    public IEnumerable<LazyResult> All => (Ref is null ? [] : (IEnumerable<LazyResult>)[Ref])
        .Concat(Refs.Values.Where(result => result is not null).Select(result => result!))
        .Concat(Attestations.Values.SelectMany(list => list).Where(attestation => attestation.Ref is not null).Select(attestation => attestation.Ref!));
}

/// <summary>An attestation a frontend made, or the daemon.</summary>
public sealed record BuildAttestation(bool IsBundle, LazyResult? Ref, string Path, string PredicateType, IReadOnlyDictionary<string, byte[]> Metadata)
{
    /// <summary>Makes the predicate of one the daemon made; null for one that is in a result.</summary>
    public Func<CancellationToken, Task<byte[]>>? Content { get; init; }

    /// <summary>What it is about; empty for the result itself.</summary>
    public IReadOnlyList<ExportSubject> Subjects { get; init; } = [];
}
