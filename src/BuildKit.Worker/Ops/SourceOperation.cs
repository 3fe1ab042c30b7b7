using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Worker.Results;
using BuildKit.Worker.Sources;

namespace BuildKit.Worker.Ops;

/// <summary>Fetches something from outside: an image, a client's directory, a URL.</summary>
public sealed class SourceOperation(ISourceInstance source, string workerId, WorkerSlots slots) : IOperation
{
    private const string KeyPrefix = "buildkit.source.v0:";
    private const string SessionPrefix = "session:";

    /// <summary>What identifies the content, once its key was asked for.</summary>
    public string Pin { get; private set; } = "";

    /// <inheritdoc/>
    public async Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
    {
        var key = await source.GetKeyAsync(context, index, cancellationToken);
        if (key.Pin.Length > 0)
            Pin = key.Pin;
        var digest = Digest.Sha256(KeyPrefix + key.Key);
        // Content that only one session has must never be found by its key: the digest is taken out of the shared space.
        if (key.Key.StartsWith(SessionPrefix, StringComparison.Ordinal))
            digest = Digest.Unchecked("random:" + digest.Hex);
        return new CacheMapResponse(new CacheMap { Digest = digest, Dependencies = [], Options = key.Options }, key.IsLast);
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken) =>
        [WorkerResult.From(workerId, await source.FetchAsync(context, cancellationToken))];

    /// <inheritdoc/>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => slots.AcquireAsync(cancellationToken);
}
