namespace BuildKit.Solver;

/// <summary>
/// An opaque, reference-counted result of a vertex output. Each holder owns its own object and disposes it
/// exactly once; a second dispose is logged and ignored. A null result is the empty (scratch) result.
/// </summary>
public interface IResult : IAsyncDisposable
{
    /// <summary><c>worker id::ref id</c>, stable across restarts.</summary>
    string Id { get; }

    /// <summary>The value, for the layer that made it.</summary>
    object Value { get; }

    /// <summary>Another owned handle on the same result.</summary>
    IResult Clone();
}

/// <summary>A result together with the cache keys under which it can be found and exported.</summary>
/// <param name="Result">The result, owned; null for scratch.</param>
/// <param name="Keys">At least one key; the first is the one exports start from.</param>
public sealed record CachedResult(IResult? Result, IReadOnlyList<ExportableCacheKey> Keys) : IAsyncDisposable
{
    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Result?.DisposeAsync() ?? ValueTask.CompletedTask;
}
