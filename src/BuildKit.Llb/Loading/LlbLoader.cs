using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>
/// Loading in three passes, none of them recursive, since a client may send a graph of any depth:
/// 1. every entry is parsed, and its source put before the policy;
/// 2. digests are computed anew from the canonical bytes, inputs first, because policy and foreign encoders change them;
/// 3. from the result down, each operation is checked, given its platform, and becomes a vertex.
/// </summary>
internal sealed class LlbLoader(Definition definition, ISourcePolicy? policy, LlbLoadOptions options)
{
    private readonly Dictionary<string, LoadedOp> _bySent = new(StringComparer.Ordinal);
    private readonly Dictionary<string, LoadedOp> _byDigest = new(StringComparer.Ordinal);
    private readonly List<LoadedOp> _inOrder = [];
    private readonly Dictionary<string, bool> _prunedCacheIds = new(StringComparer.Ordinal);

    public LlbGraph Load(CancellationToken cancellationToken)
    {
        if (definition.Def.Count == 0)
            throw new LlbException("invalid empty definition");
        var last = Parse(cancellationToken);
        foreach (var op in _inOrder)
            Recompute(op, cancellationToken);
        if (_byDigest.Count < 2)
            throw new LlbException($"invalid LLB with {_byDigest.Count} vertexes");

        // Two entries may have become one; then the first of them stands for both.
        last = _byDigest[last.Digest];
        if (last.Op.Inputs.Count == 0)
            throw new LlbException("invalid LLB with no inputs on last vertex");
        var result = last.Op.Inputs[0];
        if (result.Digest == last.Digest)
            throw new LlbException($"invalid missing input digest {result.Digest}");
        var vertices = Connect(_byDigest[result.Digest], cancellationToken);
        return new LlbGraph(new LlbEdge(_byDigest[result.Digest].Vertex!, OutputIndex(result)), vertices, _prunedCacheIds);
    }

    private LoadedOp Parse(CancellationToken cancellationToken)
    {
        LoadedOp? last = null;
        foreach (var bytes in definition.Def)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Op op;
            try
            {
                op = Op.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException e)
            {
                throw new LlbException($"failed to parse llb proto op: {e.Message}", e);
            }

            RejectInvalidText(op, bytes.Span);
            if (policy is not null && op.Source is { } source)
            {
                try
                {
                    policy.Evaluate(source);
                }
                catch (LlbException e)
                {
                    throw new LlbException($"error evaluating the source policy: {e.Message}", e);
                }
            }

            var digest = Digest.Sha256(bytes.Span).ToString();
            if (_bySent.TryGetValue(digest, out last))
                continue;
            last = new LoadedOp(op, digest, definition.Metadata.GetValueOrDefault(digest));
            _bySent.Add(digest, last);
            _inOrder.Add(last);
        }

        return last!;
    }

    /// <summary>The parser puts U+FFFD where text is not UTF-8; such an operation has no canonical bytes.</summary>
    private static void RejectInvalidText(Op op, ReadOnlySpan<byte> sent)
    {
        var replacement = "\uFFFD"u8;
        if (CanonicalOp.Encode(op).AsSpan().Count(replacement) > sent.Count(replacement))
            throw new LlbException("string field contains invalid UTF-8");
    }

    private void Recompute(LoadedOp root, CancellationToken cancellationToken)
    {
        if (root.IsRecomputed)
            return;
        var path = new Stack<(LoadedOp Op, int Next)>();
        path.Push((root, 0));
        root.IsOnPath = true;
        while (path.TryPop(out var top))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var (op, next) = top;
            if (next == op.Op.Inputs.Count)
            {
                Finish(op);
                continue;
            }

            var digest = op.Op.Inputs[next].Digest;
            if (!_bySent.TryGetValue(digest, out var input))
                throw new LlbException($"invalid missing input digest {digest}");
            if (input.IsRecomputed)
            {
                path.Push((op, next + 1));
                continue;
            }

            if (input.IsOnPath)
                throw new LlbException($"invalid LLB: op {digest} depends on itself");
            input.IsOnPath = true;
            path.Push((op, next));
            path.Push((input, 0));
        }
    }

    private void Finish(LoadedOp op)
    {
        foreach (var input in op.Op.Inputs)
            input.Digest = _bySent[input.Digest].Digest;
        op.Digest = CanonicalOp.Digest(op.Op).ToString();
        op.IsRecomputed = true;
        op.IsOnPath = false;
        if (!_byDigest.TryGetValue(op.Digest, out var known) || (known.Sent != known.Digest && op.Sent == op.Digest))
            _byDigest[op.Digest] = op;
    }

    private List<LlbVertex> Connect(LoadedOp root, CancellationToken cancellationToken)
    {
        var vertices = new List<LlbVertex>();
        var path = new Stack<(LoadedOp Op, int Next)>();
        path.Push((root, 0));
        while (path.TryPop(out var top))
        {
            cancellationToken.ThrowIfCancellationRequested();
            var (op, next) = top;
            if (op.Vertex is not null)
                continue;
            if (next == 0)
                Check(op);
            while (next < op.Op.Inputs.Count && _byDigest[op.Op.Inputs[next].Digest].Vertex is not null)
                next++;
            if (next < op.Op.Inputs.Count)
            {
                path.Push((op, next + 1));
                path.Push((_byDigest[op.Op.Inputs[next].Digest], 0));
                continue;
            }

            op.Vertex = new LlbVertex(Digest.Unchecked(op.Digest), Digest.Unchecked(op.Sent), op.Op, op.Metadata)
            {
                Inputs = [.. op.Op.Inputs.Select(input => new LlbEdge(_byDigest[input.Digest].Vertex!, OutputIndex(input)))],
            };
            op.Vertex.Name = VertexName.Of(op.Vertex);
            vertices.Add(op.Vertex);
        }

        return vertices;
    }

    private void Check(LoadedOp loaded)
    {
        OpValidation.Validate(loaded.Op);
        if (loaded.Op.Exec is { } exec)
        {
            if (loaded.Metadata is { IgnoreCache: true })
                CollectPrunedCaches(exec);
            CheckEntitlements(exec);
        }

        loaded.Op.Platform = (loaded.Op.Platform?.ToOci() ?? options.DefaultPlatform).Normalize().ToProto();
        if (loaded.Metadata is { } metadata && options.Capabilities is { } capabilities)
        {
            foreach (var id in metadata.Caps.Keys.Order(ByteOrder.Instance))
                capabilities.Require(id);
        }
    }

    private void CollectPrunedCaches(ExecOp exec)
    {
        foreach (var mount in exec.Mounts)
        {
            if (mount is { MountType: MountType.Cache, CacheOpt: { } cache })
                _prunedCacheIds[cache.ID.Length > 0 ? cache.ID : mount.Dest] = mount.Input != -1;
        }
    }

    private void CheckEntitlements(ExecOp exec)
    {
        if (exec.Network == NetMode.Host && !options.AllowNetworkHost)
            throw new LlbException("network.host is not allowed");
        if (exec.Security == SecurityMode.Insecure && !options.AllowSecurityInsecure)
            throw new LlbException("security.insecure is not allowed");
        if (exec.CdiDevices.Count == 0)
            return;
        if (options.CheckDevices is { } check)
        {
            check(exec);
            return;
        }

        if (exec.CdiDevices.FirstOrDefault(device => !device.Optional) is { } refused)
            throw new LlbException($"device {refused.Name} is requested by the build but not allowed");
        exec.CdiDevices.Clear();
    }

    private static int OutputIndex(Input input) =>
        input.Index is >= 0 and <= int.MaxValue
            ? (int)input.Index
            : throw new LlbException($"invalid input {input.Digest} output index {input.Index}");

    private sealed class LoadedOp(Op op, string sent, OpMetadata? metadata)
    {
        public Op Op { get; } = op;

        public string Sent { get; } = sent;

        public OpMetadata? Metadata { get; } = metadata;

        public string Digest { get; set; } = sent;

        public bool IsRecomputed { get; set; }

        public bool IsOnPath { get; set; }

        public LlbVertex? Vertex { get; set; }
    }
}
