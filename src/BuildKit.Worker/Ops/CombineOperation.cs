using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Results;

namespace BuildKit.Worker.Ops;

/// <summary>Lays the trees of its inputs over each other, or takes the difference of two.</summary>
/// <param name="digest">Digest of the operation (spec 03 §8.6).</param>
/// <param name="inputCount">Inputs of the vertex.</param>
/// <param name="name">The vertex' name, which becomes the description of the result.</param>
/// <param name="combine">Makes the result of the inputs' refs.</param>
/// <param name="workerId">Worker the result belongs to.</param>
public sealed class CombineOperation(
    Digest digest, int inputCount, string name, Func<IReadOnlyList<IImmutableRef?>, RefOptions, CancellationToken, Task<IImmutableRef?>> combine, string workerId) : IOperation
{
    /// <inheritdoc/>
    public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken) =>
        Task.FromResult(new CacheMapResponse(
            new CacheMap { Digest = digest, Dependencies = [.. Enumerable.Repeat(new CacheMapDependency(), inputCount)] }, Complete: true));

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
    {
        var options = RefOptions.Default with { Description = name, Progress = StatusProgress.Reporter(context.Progress) };
        return [WorkerResult.From(workerId, await combine([.. inputs.Select(WorkerResult.RefOf)], options, cancellationToken))];
    }

    /// <inheritdoc/>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => default;
}
