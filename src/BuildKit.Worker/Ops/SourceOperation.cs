using BuildKit.Solver;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sources;

namespace BuildKit.Worker.Ops;

/// <summary>Fetches something from outside: an image, a client's directory, a URL.</summary>
public sealed class SourceOperation(ISourceInstance source, string workerId, WorkerSlots slots) : IOperation
{
    /// <summary>What it brings into a build.</summary>
    public SourceMaterial Material => source.Material;

    /// <summary>What identifies the content, once its key was asked for.</summary>
    public string Pin { get; private set; } = "";

    /// <inheritdoc/>
    public async Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
    {
        var key = await source.GetKeyAsync(context, index, cancellationToken);
        if (key.Pin.Length > 0)
            Pin = key.Pin;
        return new CacheMapResponse(
            new CacheMap { Digest = SourceDigest.FromKey(key.Key), Dependencies = [], Options = key.Options }, key.IsLast);
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken) =>
        [WorkerResult.From(workerId, await source.FetchAsync(context, cancellationToken))];

    /// <inheritdoc/>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => slots.AcquireAsync(cancellationToken);
}
