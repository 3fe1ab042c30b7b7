using BuildKit.Solver;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Results;

/// <summary>A ref as the solver holds it.</summary>
public sealed class WorkerResult(string workerId, IImmutableRef reference) : IResult
{
    private const string Separator = "::";
    private int _disposed;

    /// <inheritdoc/>
    public string Id { get; } = workerId + Separator + reference.Id;

    /// <summary>The ref; borrowed, valid while this handle is.</summary>
    public IImmutableRef Ref { get; } = reference;

    /// <inheritdoc/>
    public object Value => Ref;

    /// <inheritdoc/>
    public IResult Clone() => new WorkerResult(workerId, Ref.Clone());

    /// <inheritdoc/>
    public ValueTask DisposeAsync() =>
        Interlocked.Exchange(ref _disposed, 1) == 0 ? Ref.DisposeAsync() : ValueTask.CompletedTask;

    /// <summary>Wraps an owned ref; no ref is the scratch result.</summary>
    public static WorkerResult? From(string workerId, IImmutableRef? reference) =>
        reference is null ? null : new WorkerResult(workerId, reference);

    /// <summary>The ref of a result, or null for scratch.</summary>
    /// <exception cref="InvalidOperationException">The result is none of a worker's.</exception>
    public static IImmutableRef? RefOf(IResult? result) => result switch
    {
        null => null,
        { Value: IImmutableRef reference } => reference,
        _ => throw new InvalidOperationException($"invalid reference: {result.Id} is not a result of a worker"),
    };

    /// <summary>The id of a result; scratch has an empty ref id.</summary>
    public static string IdOf(string workerId, IResult? result) => result?.Id ?? workerId + Separator;

    /// <summary>The ref id in a result id; empty for scratch.</summary>
    public static string RefIdOf(string resultId)
    {
        var at = resultId.IndexOf(Separator, StringComparison.Ordinal);
        return at < 0 ? resultId : resultId[(at + Separator.Length)..];
    }
}
