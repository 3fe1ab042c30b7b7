using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// Is told how steps come to their results, so that it can be said later why one was executed. Results that come from the
/// solver's own cache are not told: a build that is answered from it costs nothing here. Calls come from any thread and
/// return at once. An exception is logged and harms nobody.
/// </summary>
public interface ISolveObserver
{
    /// <summary>A step begins to execute; null when nobody wants to know how it ends. The results of the step's inputs are
    /// borrowed until <see cref="IStepObservation.CompletedAsync"/> has ended.</summary>
    IStepObservation? OnExecuting(ObservedStep step);

    /// <summary>A step's result came from an imported cache; it is kept locally from now on. The step's results are
    /// borrowed until the task ends.</summary>
    Task OnImportedAsync(ObservedStep step, CacheRecord record, IResult? result);

    /// <summary>The content of an input could not be read, so that the step has no key and fails.</summary>
    void OnContentUnreadable(ObservedStep step, int input, Exception error);
}

/// <summary>What becomes of one execution.</summary>
public interface IStepObservation
{
    /// <summary>The execution ended.</summary>
    /// <param name="outputs">The results, borrowed; empty when it failed.</param>
    /// <param name="error">Why it failed, or null.</param>
    Task CompletedAsync(IReadOnlyList<IResult?> outputs, Exception? error);
}

/// <summary>A step and what was known of its keys at one moment.</summary>
public sealed record ObservedStep
{
    /// <summary>The step, under the digest clients see in the progress.</summary>
    public required Vertex Vertex { get; init; }

    /// <summary>What does the work; null when it was not asked for yet.</summary>
    public IOperation? Operation { get; init; }

    /// <summary>Digest of the last cache map; empty when there was none yet.</summary>
    public Digest OperationDigest { get; init; }

    /// <summary>Digests of every cache map asked for; several for a source with alternative keys.</summary>
    public IReadOnlyList<Digest> MapDigests { get; init; } = [];

    /// <summary>The inputs, as far as they are known.</summary>
    public IReadOnlyList<ObservedInput> Inputs { get; init; } = [];

    /// <summary>Results that were found for the step and could not be loaded.</summary>
    public IReadOnlyList<FailedLoad> FailedLoads { get; init; } = [];

    /// <summary>Ids of the builds that want the step now.</summary>
    public required Func<IReadOnlyList<string>> Builds { get; init; }
}

/// <summary>A result that was found and could not be loaded.</summary>
public readonly record struct FailedLoad(string ResultId, Exception Error);

/// <summary>One input of a step.</summary>
/// <param name="Map">How it takes part in the key; null before the cache map is known.</param>
/// <param name="Result">Its result, borrowed; null for scratch or when it is not there.</param>
/// <param name="Keys">Keys its result is known by.</param>
/// <param name="Content">Digest of the content that was looked at; empty when none was.</param>
public sealed record ObservedInput(CacheMapDependency? Map, IResult? Result, IReadOnlyList<CacheKey> Keys, Digest Content);
