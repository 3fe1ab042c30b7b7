using System.Security.Cryptography;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>
/// Turns the graph behind a state into a definition. First every deferred state the graph can reach is resolved;
/// then operations get their bytes, inputs before what uses them, without recursion: graphs may be deep.
/// </summary>
internal static class Marshaller
{
    public static async Task<Definition> MarshalAsync(State state, MarshalOptions options, CancellationToken cancellationToken)
    {
        options = options with { LocalUniqueId = options.LocalUniqueId ?? NewLocalUniqueId() };
        var deferred = new DeferredStates(options);
        await ResolveAllAsync(state, deferred, cancellationToken).ConfigureAwait(false);

        var constraints = new OpConstraints { Platform = options.Platform ?? Platform.Host.Normalize(), LocalUniqueId = options.LocalUniqueId };
        var context = new MarshalContext(options.Constraints.Over(constraints), options.Capabilities, deferred);
        var definition = new Definition();
        if (context.Resolve(state.Output) is not { } result)
            return definition;

        var sources = new SourceCollector();
        var metadata = new SortedDictionary<string, OpMetadata>(ByteOrder.Instance);
        foreach (var op in Walk(result.Vertex, context))
        {
            sources.Add(op);
            var isNew = !metadata.TryGetValue(op.Digest, out var known);
            if (isNew)
                definition.Def.Add(UnsafeByteOperations.UnsafeWrap(op.Bytes));
            metadata[op.Digest] = known is null ? op.Metadata ?? new OpMetadata() : Merge(known, op.Metadata);
        }

        var last = new Op();
        last.Inputs.Add(context.Input(result));
        var bytes = CanonicalOp.Encode(last);
        definition.Def.Add(UnsafeByteOperations.UnsafeWrap(bytes));
        metadata[Oci.Digest.Sha256(bytes).ToString()] = LastMetadata(metadata.Values);
        foreach (var (digest, entry) in metadata)
            definition.Metadata.Add(digest, entry);
        definition.Source = await sources.MarshalAsync(options, cancellationToken).ConfigureAwait(false);
        return definition;
    }

    /// <summary>A fresh id of 25 characters of base 36.</summary>
    private static string NewLocalUniqueId() => RandomNumberGenerator.GetString("0123456789abcdefghijklmnopqrstuvwxyz", 25);

    private static async Task ResolveAllAsync(State state, DeferredStates deferred, CancellationToken cancellationToken)
    {
        var seen = new HashSet<Vertex>();
        var outputs = new Stack<Output?>();
        outputs.Push(state.Output);
        while (outputs.TryPop(out var output))
        {
            while (output is DeferredOutput pending)
                output = (await deferred.ResolveAsync(pending.State, cancellationToken).ConfigureAwait(false)).Output;
            if (output is not VertexOutput { Vertex: var vertex } || !seen.Add(vertex))
                continue;
            foreach (var node in vertex.Values)
            {
                if (node.Pending is { } values)
                    await deferred.ResolveAsync(values, cancellationToken).ConfigureAwait(false);
            }

            foreach (var input in vertex.Inputs)
                outputs.Push(input);
        }
    }

    /// <summary>Post-order: the order of the entries of a definition.</summary>
    private static IEnumerable<MarshalledOp> Walk(Vertex root, MarshalContext context)
    {
        var path = new Stack<(Vertex Vertex, IEnumerator<Output> Inputs)>();
        path.Push((root, root.Inputs.GetEnumerator()));
        while (path.TryPeek(out var top))
        {
            if (top.Inputs.MoveNext())
            {
                if (context.Resolve(top.Inputs.Current) is { } input && !context.IsDone(input.Vertex))
                    path.Push((input.Vertex, input.Vertex.Inputs.GetEnumerator()));
                continue;
            }

            path.Pop().Inputs.Dispose();
            var op = top.Vertex.Marshal(context);
            context.Done(top.Vertex, op);
            yield return op;
        }
    }

    private static OpMetadata LastMetadata(IEnumerable<OpMetadata> others)
    {
        var caps = new SortedSet<string>(ByteOrder.Instance) { LlbCaps.Constraints, LlbCaps.Platform };
        foreach (var metadata in others)
        {
            if (metadata.IgnoreCache)
                caps.Add(LlbCaps.MetaIgnoreCache);
            if (metadata.Description.Count > 0)
                caps.Add(LlbCaps.MetaDescription);
            if (metadata.ExportCache is not null)
                caps.Add(LlbCaps.MetaExportCache);
        }

        var last = new OpMetadata();
        foreach (var id in caps)
            last.Caps.Add(id, true);
        return last;
    }

    /// <summary>Metadata of two operations with the same bytes; the later one wins where they differ.</summary>
    private static OpMetadata Merge(OpMetadata first, OpMetadata? second)
    {
        if (second is null)
            return first;
        var merged = first.Clone();
        merged.IgnoreCache |= second.IgnoreCache;
        merged.ExportCache = second.ExportCache ?? merged.ExportCache;
        merged.ProgressGroup = second.ProgressGroup ?? merged.ProgressGroup;
        foreach (var (key, value) in second.Description)
            merged.Description[key] = value;
        foreach (var id in second.Caps.Keys)
            merged.Caps[id] = true;
        return merged;
    }
}
