using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Checksums;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Results;

namespace BuildKit.Worker.Ops;

/// <summary>Hashes parts of a result's content.</summary>
public interface IContentHasher
{
    /// <summary>The content digest of an input under some selectors (spec 03 §8.7); null is the empty tree.</summary>
    Task<Digest> ComputeAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken);

    /// <summary>What a digest that was computed stands for, from what is remembered; nothing is read.</summary>
    Task<ContentListing> ListAsync(IImmutableRef? reference, IReadOnlyList<ContentSelector> selectors, CancellationToken cancellationToken);
}

/// <summary>Turns what a definition says about its inputs into what the solver asks for.</summary>
internal static class InputKeys
{
    /// <summary>The cache map of an operation.</summary>
    public static CacheMap ToCacheMap(this OpKey key, IContentHasher hasher) => new()
    {
        Digest = key.Digest,
        Dependencies = [.. key.Inputs.Select(input => new CacheMapDependency
        {
            Selector = input.Selector,
            ComputeDigest = input.Content is { } selectors
                ? (_, result, cancellationToken) => hasher.ComputeAsync(WorkerResult.RefOf(result), selectors, cancellationToken)
                : null,
            ListContent = input.Content is { } listed
                ? async (result, cancellationToken) => await hasher.ListAsync(WorkerResult.RefOf(result), listed, cancellationToken)
                : null,
            Preprocess = input.NeedsUnlazy ? UnlazyAsync : null,
        })],
    };

    private static Task UnlazyAsync(IOperationContext context, IResult? result, CancellationToken cancellationToken) =>
        WorkerResult.RefOf(result)?.ExtractAsync(cancellationToken) ?? Task.CompletedTask;
}
