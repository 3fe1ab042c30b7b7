using BuildKit.Llb;
using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Ops.Exec;
using BuildKit.Worker.Sources;

namespace BuildKit.Worker.Ops;

/// <summary>Makes operations of LLB vertices.</summary>
public sealed class OperationFactory(
    ExecEnvironment exec, IReadOnlyList<ISource> sources, IContentHasher hasher, string workerId, WorkerSlots slots, string temporaryDirectory,
    NestedSolve nested) : IOperationResolver
{
    private readonly Dictionary<string, ISource> _sources = sources
        .SelectMany(source => source.Schemes.Select(scheme => (scheme, source)))
        .ToDictionary(pair => pair.scheme, pair => pair.source, StringComparer.Ordinal);

    /// <inheritdoc/>
    public IOperation Resolve(Vertex vertex, ISubBuilder subBuilder)
    {
        var llb = (LlbVertex)vertex.Operation;
        var op = llb.Op;
        var inputCount = llb.Inputs.Count;
        var platform = PlatformConversion.ToOci(op.Platform);
        IRefStore refs = exec.Refs;
        switch (op.OpCase)
        {
            case Op.OpOneofCase.Source:
                return new SourceOperation(Source(op.Source).Open(op.Source, platform), workerId, slots);
            case Op.OpOneofCase.Exec:
                return new ExecOperation(op.Exec, platform, inputCount, exec, hasher, workerId, slots);
            case Op.OpOneofCase.File:
                return new FileOperation(op.File, inputCount, llb.Name, refs, hasher, workerId, slots, temporaryDirectory);
            case Op.OpOneofCase.Merge:
                return new CombineOperation(
                    GraphDigest.Merge(op.Merge).Digest, inputCount, llb.Name,
                    (inputs, options, token) => refs.MergeAsync([.. op.Merge.Inputs.Select(input => inputs[(int)input.Input])], options, token), workerId);
            case Op.OpOneofCase.Diff:
                return new CombineOperation(
                    GraphDigest.Diff(op.Diff).Digest, inputCount, llb.Name,
                    (inputs, options, token) => DiffAsync(refs, op.Diff, inputs, options, token), workerId);
            case Op.OpOneofCase.Build:
                return new BuildOperation(op.Build, inputCount, subBuilder, nested, temporaryDirectory);
            default:
                throw new InvalidOperationException($"no support for operation {op.OpCase}");
        }
    }

    private static async Task<IImmutableRef?> DiffAsync(
        IRefStore refs, DiffOp diff, IReadOnlyList<IImmutableRef?> inputs, RefOptions options, CancellationToken cancellationToken)
    {
        var lower = diff.Lower.Input < 0 ? null : inputs[(int)diff.Lower.Input];
        var upper = diff.Upper.Input < 0 ? null : inputs[(int)diff.Upper.Input];
        // Nothing taken away from a tree is the tree; a tree without itself is empty, and has no layer.
        if (lower is null)
            return upper?.Clone();
        if (lower.Id == upper?.Id)
            return null;
        return await refs.DiffAsync(lower, upper, options, cancellationToken);
    }

    private ISource Source(SourceOp source)
    {
        var end = source.Identifier.IndexOf("://", StringComparison.Ordinal);
        if (end < 0)
            throw new InvalidOperationException($"failed to parse {source.Identifier}: invalid");
        var scheme = source.Identifier[..end];
        return _sources.GetValueOrDefault(scheme) ?? throw new InvalidOperationException($"unknown scheme {scheme}: not found");
    }
}
