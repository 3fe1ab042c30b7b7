using BuildKit.Protocol.Pb;
using BuildKit.Solver;
using BuildKit.Worker.Ops.Digests;
using BuildKit.Worker.Results;
using Google.Protobuf;

namespace BuildKit.Worker.Ops;

/// <summary>Solves a definition below a running vertex, with what the builds that wait for it may do. Null is an empty
/// tree; the caller owns the result.</summary>
/// <param name="definition">The definition.</param>
/// <param name="builder">The running vertex.</param>
/// <param name="cancellationToken">Ends the build.</param>
public delegate Task<CachedResult?> NestedSolve(Definition definition, ISubBuilder builder, CancellationToken cancellationToken);

/// <summary>Builds the definition that another step wrote to a file (spec 02 §7, "BuildOp").</summary>
public sealed class BuildOperation(BuildOp op, int inputCount, ISubBuilder builder, NestedSolve solve, string temporaryDirectory) : IOperation
{
    private const long LlbBuilder = -1;
    private const string DefinitionInput = "buildkit.llb.definition";
    private const string FilenameAttribute = "llbbuild.filename";

    /// <inheritdoc/>
    public Task<CacheMapResponse> GetCacheMapAsync(IOperationContext context, int index, CancellationToken cancellationToken)
    {
        var key = GraphDigest.Build(op, inputCount);
        return Task.FromResult(new CacheMapResponse(
            new CacheMap { Digest = key.Digest, Dependencies = [.. Enumerable.Repeat(new CacheMapDependency(), inputCount)] }, Complete: true));
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<IResult?>> ExecuteAsync(IOperationContext context, IReadOnlyList<IResult?> inputs, CancellationToken cancellationToken)
    {
        if (op.Builder != LlbBuilder)
            throw new InvalidOperationException("only LLB builder is currently allowed");
        if (!op.Inputs.TryGetValue(DefinitionInput, out var input))
            throw new InvalidOperationException($"no llb definition input {DefinitionInput} found");
        if (input.Input < 0 || input.Input >= inputs.Count)
            throw new InvalidOperationException($"invalid index {input.Input}");
        var definition = await ReadAsync(inputs[(int)input.Input], op.Attrs.GetValueOrDefault(FilenameAttribute, DefinitionInput), cancellationToken);
        var solved = await solve(definition, builder, cancellationToken);
        return [solved?.Result];
    }

    /// <summary>What it builds takes the slots.</summary>
    public ValueTask<IDisposable?> AcquireSlotAsync(CancellationToken cancellationToken) => default;

    private async Task<Definition> ReadAsync(IResult? source, string filename, CancellationToken cancellationToken)
    {
        byte[] bytes;
        try
        {
            var reference = WorkerResult.RefOf(source);
            if (reference is not null)
                await reference.ExtractAsync(cancellationToken);
            bytes = await RefFiles.ReadFileAsync(reference, filename, 0, null, temporaryDirectory, cancellationToken);
        }
        catch (IOException exception)
        {
            throw new InvalidOperationException($"failed to open {filename}: {exception.Message}", exception);
        }
        try
        {
            return Definition.Parser.ParseFrom(bytes);
        }
        catch (InvalidProtocolBufferException exception)
        {
            throw new InvalidOperationException($"failed to parse the definition in {filename}: {exception.Message}", exception);
        }
    }
}
