using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>One result of an operation, before the operation has bytes.</summary>
internal abstract class Output
{
    /// <summary>The platform the operation was explicitly given.</summary>
    public virtual Platform? Platform => null;
}

/// <summary>Output of a vertex that exists.</summary>
internal class VertexOutput(Vertex vertex, Platform? platform = null) : Output
{
    public Vertex Vertex { get; } = vertex;

    public override Platform? Platform { get; } = platform;

    /// <exception cref="LlbException">Nothing can be built on this output.</exception>
    public virtual int Index => 0;
}

/// <summary>Output of a state that is not known yet.</summary>
internal sealed class DeferredOutput(DeferredState state) : Output
{
    public DeferredState State { get; } = state;
}

/// <summary>An operation in the making.</summary>
internal abstract class Vertex
{
    /// <summary>What must come before this operation in a definition, in the order of the walk (spec 02 §11.2).</summary>
    public abstract IEnumerable<Output> Inputs { get; }

    /// <summary>Values the operation reads.</summary>
    public virtual IEnumerable<ValueNode> Values => [];

    public abstract MarshalledOp Marshal(MarshalContext context);
}

/// <summary>An operation with bytes.</summary>
internal sealed record MarshalledOp(string Digest, ReadOnlyMemory<byte> Bytes, OpMetadata? Metadata, IReadOnlyList<SourceLocation> Locations);

/// <summary>Everything vertices need while they are turned into bytes.</summary>
internal sealed class MarshalContext(OpConstraints constraints, CapabilitySet? capabilities, DeferredStates deferred)
{
    private readonly Dictionary<Vertex, MarshalledOp> _done = [];

    /// <summary>Constraints of the marshaller; the platform is always set.</summary>
    public OpConstraints Base { get; } = constraints;

    public CapabilitySet? Capabilities { get; } = capabilities;

    public StateValues Values(State state) => state.Node.Get(deferred);

    public StateValues Values(ValueNode node) => node.Get(deferred);

    /// <summary>Follows deferred states to the output they stand for; null for scratch.</summary>
    public VertexOutput? Resolve(Output? output)
    {
        while (output is DeferredOutput pending)
            output = deferred.Get(pending.State).Output;
        return (VertexOutput?)output;
    }

    public bool IsDone(Vertex vertex) => _done.ContainsKey(vertex);

    public void Done(Vertex vertex, MarshalledOp op) => _done.Add(vertex, op);

    /// <summary>The reference to an output of an operation that has bytes already; null for scratch.</summary>
    public Input? Input(Output? output)
    {
        if (Resolve(output) is not { } found)
            return null;
        var index = found.Index;
        return new Input { Digest = _done[found.Vertex].Digest, Index = index };
    }

    /// <summary>An operation with its constraints and platform filled in.</summary>
    public static Op NewOp(OpConstraints constraints, bool withPlatform)
    {
        var op = new Op { Constraints = new WorkerConstraints() };
        op.Constraints.Filter.AddRange(constraints.WorkerFilters);
        if (withPlatform && constraints.Platform is { } platform)
            op.Platform = platform.ToProto();
        return op;
    }

    public static MarshalledOp Finish(Op op, OpConstraints constraints)
    {
        var bytes = CanonicalOp.Encode(op);
        return new MarshalledOp(Digest.Sha256(bytes).ToString(), bytes, Metadata(constraints), constraints.Locations);
    }

    private static OpMetadata Metadata(OpConstraints constraints)
    {
        var metadata = new OpMetadata { IgnoreCache = constraints.IgnoreCache };
        foreach (var (key, value) in constraints.Description)
            metadata.Description.Add(key, value);
        if (constraints.ExportCache is { } export)
            metadata.ExportCache = new ExportCache { Value = export };
        foreach (var id in constraints.Capabilities)
            metadata.Caps.Add(id, true);
        if (constraints.ProgressGroup is { } group)
            metadata.ProgressGroup = new Protocol.Pb.ProgressGroup { Id = group.Id, Name = group.Name, Weak = group.Weak };
        return metadata;
    }
}
