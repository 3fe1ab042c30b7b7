using BuildKit.Oci;
using BuildKit.Solver;
using BuildKit.Storage.Layers;
using BuildKit.Storage.Refs;

namespace BuildKit.Worker.Results;

/// <summary>The local cache's results are the worker's refs.</summary>
public sealed class WorkerResultStorage(string workerId, IRefStore refs) : ICacheResultStorage
{
    /// <inheritdoc/>
    public ValueTask<CacheResultInfo> SaveAsync(IResult? result, DateTimeOffset createdAt, CancellationToken cancellationToken)
    {
        if (WorkerResult.RefOf(result) is { } reference)
            reference.Metadata.Retain = true;
        return new(new CacheResultInfo(WorkerResult.IdOf(workerId, result), createdAt));
    }

    /// <inheritdoc/>
    public async Task<IResult?> LoadAsync(IOperationContext? context, CacheResultInfo result, CancellationToken cancellationToken) =>
        WorkerResult.From(workerId, await LoadRefAsync(context, result.Id, cancellationToken));

    /// <inheritdoc/>
    public async Task<IReadOnlyList<object>> LoadRemotesAsync(
        IOperationContext? context, CacheResultInfo result, object? compression, IEnumerable<string> sessionIds, CancellationToken cancellationToken)
    {
        await using var reference = await LoadRefAsync(context, result.Id, cancellationToken);
        if (reference is null)
            return [];
        var wanted = (CompressionOptions?)compression ?? CompressionOptions.Default;
        return await reference.GetRemotesAsync(createIfNeeded: false, wanted, all: true, cancellationToken);
    }

    /// <inheritdoc/>
    public bool Exists(string resultId)
    {
        var id = WorkerResult.RefIdOf(resultId);
        return id.Length == 0 || refs.Exists(id);
    }

    /// <summary>
    /// Opens a stored ref. One that is lazy needs to be told where its blobs are: the providers come from the
    /// cache options of the vertex and its inputs, where image sources and imported caches put them.
    /// </summary>
    private async Task<IImmutableRef?> LoadRefAsync(IOperationContext? context, string resultId, CancellationToken cancellationToken)
    {
        var id = WorkerResult.RefIdOf(resultId);
        if (id.Length == 0)
            return null;
        try
        {
            return await refs.GetAsync(id, RefOptions.Default, cancellationToken);
        }
        catch (MissingDescriptorHandlersException missing) when (context is not null)
        {
            var handlers = DescriptorHandlers.From(context, missing.Digests);
            return await refs.GetAsync(id, RefOptions.Default with { Handlers = handlers }, cancellationToken);
        }
    }
}

/// <summary>Providers of lazy layers travel as cache options keyed by the layer's <see cref="Digest"/>.</summary>
public static class DescriptorHandlers
{
    /// <summary>The providers known for some digests; those not found are left out.</summary>
    public static IReadOnlyDictionary<Digest, DescriptorHandler> From(IOperationContext context, IReadOnlyList<Digest> digests)
    {
        var handlers = new Dictionary<Digest, DescriptorHandler>();
        foreach (var (key, value) in context.GetCacheOptions(includeAncestors: true, [.. digests.Select(digest => (object)digest)]))
            if (key is Digest digest && value is DescriptorHandler handler)
                handlers[digest] = handler;
        return handlers;
    }

    /// <summary>Providers as cache options.</summary>
    public static IReadOnlyDictionary<object, object> ToOptions(IReadOnlyDictionary<Digest, DescriptorHandler> handlers) =>
        handlers.ToDictionary(handler => (object)handler.Key, handler => (object)handler.Value);
}
