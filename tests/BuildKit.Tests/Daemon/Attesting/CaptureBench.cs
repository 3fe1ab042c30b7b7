using BuildKit.Daemon.Attesting;
using BuildKit.Daemon.Solving;
using BuildKit.Llb;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops;
using BuildKit.Worker.Sources;

namespace BuildKit.Tests.Daemon.Attesting;

/// <summary>Results made of nothing but what provenance looks at.</summary>
internal static class CaptureBench
{
    public static readonly Digest One = Digest.Sha256("one");
    public static readonly Digest Two = Digest.Sha256("two");

    /// <summary>A source as the solver resolved it; with an empty pin it was never looked up.</summary>
    public static (Vertex Vertex, IOperation Operation) Source(SourceMaterial material, string pin = "")
    {
        var operation = new SourceOperation(new Fixed(material, pin), "w", new WorkerSlots(1));
        operation.GetCacheMapAsync(null!, 0, default).GetAwaiter().GetResult();
        return (Vertex(new object()), operation);
    }

    /// <summary>A command as the solver resolved it.</summary>
    public static async Task<(Vertex Vertex, IOperation Operation)> ExecAsync(Action<ExecOp> change)
    {
        var state = State.Image("x").Run(new RunOptions { Args = ["true"] }).Root;
        var definition = await state.MarshalAsync(null, default);
        var vertex = LlbGraph.Load(definition).Result.Vertex;
        change(vertex.Op.Exec);
        return (Vertex(vertex), new Unused());
    }

    /// <summary>A result that was computed.</summary>
    public static async Task<LazyResult> ResultAsync(params (Vertex, IOperation)[] operations)
    {
        var result = Unevaluated(operations);
        await result.EvaluateAsync(default);
        return result;
    }

    /// <summary>A result nobody has asked for.</summary>
    public static LazyResult Unevaluated(params (Vertex, IOperation)[] operations) =>
        new(new Definition(), _ => Task.FromResult(new CachedResult(null, [])), () => operations);

    private static Vertex Vertex(object operation) => new(One, operation, [], "", new VertexOptions());

    private sealed class Fixed(SourceMaterial material, string pin) : ISourceInstance
    {
        public SourceMaterial Material => material;

        public Task<SourceKey> GetKeyAsync(IOperationContext context, int index, CancellationToken cancellationToken) => Task.FromResult(new SourceKey("k", IsLast: true) { Pin = pin });

        public Task<IImmutableRef?> FetchAsync(IOperationContext context, CancellationToken cancellationToken) => throw new InvalidOperationException("nothing is fetched");
    }

    private sealed class Unused : IOperation
    {
        public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken) => throw new InvalidOperationException("nothing is run");

        public Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken) =>
            throw new InvalidOperationException("nothing is run");

        public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => default;
    }
}
