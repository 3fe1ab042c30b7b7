using BuildKit.Oci;
using BuildKit.Protocol.Pb;

namespace BuildKit.Llb;

/// <summary>One operation of a loaded definition.</summary>
public sealed class LlbVertex
{
    internal LlbVertex(Digest digest, Digest sentDigest, Op op, OpMetadata? metadata)
    {
        Digest = digest;
        SentDigest = sentDigest;
        Op = op;
        Metadata = metadata;
    }

    /// <summary>Digest of the operation's canonical bytes, after policy.</summary>
    public Digest Digest { get; }

    /// <summary>Digest of the bytes the client sent: the key of its source locations.</summary>
    public Digest SentDigest { get; }

    /// <summary>The operation; its platform is set and normalised, which the digest does not cover.</summary>
    public Op Op { get; }

    /// <summary>What the client said about the operation; null when it said nothing.</summary>
    public OpMetadata? Metadata { get; }

    /// <summary>What the operation works on, in the order of <c>Op.inputs</c>.</summary>
    public IReadOnlyList<LlbEdge> Inputs { get; internal set; } = [];

    /// <summary>What people see: the custom name, else one made from the operation.</summary>
    public string Name { get; internal set; } = "";

    /// <inheritdoc/>
    public override string ToString() => $"{Name} ({Digest})";
}

/// <summary>One output of a vertex.</summary>
public readonly record struct LlbEdge(LlbVertex Vertex, int Index);

/// <summary>
/// A definition that was found to be well-formed, as a graph. Vertices come inputs first; only those the result
/// needs are in it (spec 02 §10).
/// </summary>
public sealed class LlbGraph
{
    internal LlbGraph(LlbEdge result, IReadOnlyList<LlbVertex> vertices, IReadOnlyDictionary<string, bool> prunedCacheIds)
    {
        Result = result;
        Vertices = vertices;
        PrunedCacheIds = prunedCacheIds;
    }

    /// <summary>What the definition stands for.</summary>
    public LlbEdge Result { get; }

    /// <summary>The vertices, inputs before what uses them.</summary>
    public IReadOnlyList<LlbVertex> Vertices { get; }

    /// <summary>Ids of cache directories that commands run without cache start anew, and whether the directory lies on
    /// top of an input (spec 03 §2.9).</summary>
    public IReadOnlyDictionary<string, bool> PrunedCacheIds { get; }

    /// <summary>Checks a definition and makes a graph of it. The definition is not changed.</summary>
    /// <exception cref="LlbException">The definition is broken or not allowed; callers put
    /// <c>failed to load LLB: </c> in front.</exception>
    public static LlbGraph Load(Definition definition, ISourcePolicy? policy = null, LlbLoadOptions? options = null, CancellationToken cancellationToken = default) =>
        new LlbLoader(definition, policy, options ?? new LlbLoadOptions()).Load(cancellationToken);
}

/// <summary>Decides about sources; see <see cref="SourcePolicyEngine"/>.</summary>
public interface ISourcePolicy
{
    /// <summary>Allows, changes or denies a source.</summary>
    /// <returns>Whether the source was changed.</returns>
    /// <exception cref="LlbException">The source is denied, or the policy is broken.</exception>
    bool Evaluate(SourceOp source);
}

/// <summary>What a definition may ask for.</summary>
public sealed record LlbLoadOptions
{
    /// <summary>Whether commands may use the host's network (<c>network.host</c>).</summary>
    public bool AllowNetworkHost { get; init; }

    /// <summary>Whether commands may run unconfined (<c>security.insecure</c>).</summary>
    public bool AllowSecurityInsecure { get; init; }

    /// <summary>Checks, and may rewrite, the CDI devices of a command that asks for some; throws when it may not have
    /// one. Without it, optional devices are dropped and others refused.</summary>
    public Action<ExecOp>? CheckDevices { get; init; }

    /// <summary>Platform of operations that have none.</summary>
    public Platform DefaultPlatform { get; init; } = Platform.Host;

    /// <summary>What operations may require; null checks nothing.</summary>
    public CapabilitySet? Capabilities { get; init; } = LlbCaps.All.Everything();
}
