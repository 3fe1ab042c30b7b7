using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>An operation that changes files without running anything (spec 02 §11.6).</summary>
internal sealed class FileVertex(State state, FileAction action, OpConstraints constraints) : Vertex
{
    private readonly CopySource _chain = action.On(state);

    public VertexOutput Output => new(this);

    public override IEnumerable<Output> Inputs => Backwards(_chain);

    public override IEnumerable<ValueNode> Values => Backwards(_chain, source => source.State.Node);

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var own = constraints.Require(LlbCaps.FileBase);
        var all = own.Over(context.Base);
        var op = MarshalContext.NewOp(all, withPlatform: false);
        var planned = new List<Planned>();
        Plan(_chain, op, context, planned, new Dictionary<CopySource, int>(ReferenceEqualityComparer.Instance));
        op.File = new FileOp();
        foreach (var (index, step) in planned.Index())
        {
            var message = new Protocol.Pb.FileAction
            {
                Input = step.Previous is { } previous ? op.Inputs.Count + previous : step.Base,
                SecondaryInput = step.SourceAction is { } source ? op.Inputs.Count + source : step.SourceInput,
                Output = index == planned.Count - 1 ? 0 : -1,
            };
            step.Step.Fill(message, step.Directory, step.Base, step.SourceDirectory);
            op.File.Actions.Add(message);
        }

        return MarshalContext.Finish(op, all with { Locations = constraints.Locations });
    }

    /// <summary>Appends the steps of a chain, each copy's own source chain before it; answers the last one's index.</summary>
    private static int Plan(CopySource chain, Op op, MarshalContext context, List<Planned> planned, Dictionary<CopySource, int> known)
    {
        if (known.TryGetValue(chain, out var last))
            return last;
        var directory = context.Values(chain.State).Directory;
        int? previous = null;
        foreach (var step in chain.Action!.Steps())
        {
            var start = AddInput(chain.State, op, context);
            var entry = new Planned(step, directory, start, previous);
            if (step is CopyStep { Source: var source })
            {
                entry = entry with { SourceDirectory = context.Values(source.State).Directory };
                entry = source.Action is null
                    ? entry with { SourceInput = AddInput(source.State, op, context) }
                    : entry with { SourceAction = Plan(source, op, context, planned, known) };
            }

            previous = planned.Count;
            planned.Add(entry);
        }

        known.Add(chain, previous!.Value);
        return previous.Value;
    }

    private static int AddInput(State state, Op op, MarshalContext context)
    {
        if (context.Input(state.Output) is not { } input)
            return -1;
        var index = op.Inputs.IndexOf(input);
        if (index >= 0)
            return index;
        op.Inputs.Add(input);
        return op.Inputs.Count - 1;
    }

    private static IEnumerable<Output> Backwards(CopySource chain) =>
        Backwards(chain, source => source.State.Output).OfType<Output>();

    /// <summary>Something of every state a chain uses, last step first: the order in which inputs enter the definition.</summary>
    private static IEnumerable<T> Backwards<T>(CopySource chain, Func<CopySource, T> select)
    {
        for (var action = chain.Action; action is not null; action = action.Previous)
        {
            yield return select(chain);
            if (action.Step is not CopyStep { Source: var source })
                continue;
            if (source.Action is null)
            {
                yield return select(source);
                continue;
            }

            foreach (var found in Backwards(source, select))
                yield return found;
        }
    }

    private sealed record Planned(FileStep Step, string Directory, int Base, int? Previous)
    {
        public int SourceInput { get; init; } = -1;

        public int? SourceAction { get; init; }

        public string SourceDirectory { get; init; } = "/";
    }
}
