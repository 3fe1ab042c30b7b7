using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>An operation that lays file systems over each other (spec 02 §11.7).</summary>
internal sealed class MergeVertex(IReadOnlyList<State> states, OpConstraints constraints) : Vertex
{
    public VertexOutput Output => new(this);

    public override IEnumerable<Output> Inputs => states.Select(state => state.Output!);

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var all = constraints.Require(LlbCaps.MergeOp).Over(context.Base);
        var op = MarshalContext.NewOp(all, withPlatform: false);
        op.Merge = new MergeOp();
        foreach (var state in states)
        {
            // A deferred state may turn out to be scratch, which adds nothing.
            if (context.Input(state.Output) is not { } input)
                continue;
            op.Merge.Inputs.Add(new MergeInput { Input = op.Inputs.Count });
            op.Inputs.Add(input);
        }

        return MarshalContext.Finish(op, all with { Locations = constraints.Locations });
    }
}

/// <summary>An operation that keeps what changed between two file systems (spec 02 §11.7).</summary>
internal sealed class DiffVertex(State lower, State upper, OpConstraints constraints) : Vertex
{
    public VertexOutput Output => new(this);

    public override IEnumerable<Output> Inputs => new[] { lower.Output, upper.Output }.OfType<Output>();

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var all = constraints.Require(LlbCaps.DiffOp).Over(context.Base);
        var op = MarshalContext.NewOp(all, withPlatform: false);
        op.Diff = new DiffOp
        {
            Lower = new LowerDiffInput { Input = Add(lower, op, context) },
            Upper = new UpperDiffInput { Input = Add(upper, op, context) },
        };
        return MarshalContext.Finish(op, all with { Locations = constraints.Locations });
    }

    private static int Add(State state, Op op, MarshalContext context)
    {
        if (context.Input(state.Output) is not { } input)
            return -1;
        op.Inputs.Add(input);
        return op.Inputs.Count - 1;
    }
}

/// <summary>An operation that builds the definition found in a file (spec 02 §11.8).</summary>
internal sealed class BuildVertex(State source, string filename, OpConstraints constraints) : Vertex
{
    private const string DefinitionInput = "buildkit.llb.definition";
    private const string FilenameAttribute = "llbbuild.filename";

    public VertexOutput Output => new(this);

    public override IEnumerable<Output> Inputs => [source.Output!];

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var all = constraints.Require(LlbCaps.SourceBuildOpLlbFilename).Over(context.Base);
        var op = MarshalContext.NewOp(all, withPlatform: true);
        op.Build = new BuildOp { Builder = -1 };
        op.Build.Inputs.Add(DefinitionInput, new BuildInput { Input = 0 });
        if (filename.Length > 0)
            op.Build.Attrs.Add(FilenameAttribute, filename);
        op.Inputs.Add(context.Input(source.Output) ?? throw new LlbException("cannot build a definition from scratch"));
        return MarshalContext.Finish(op, all with { Locations = constraints.Locations });
    }
}
