using System.Collections.Immutable;
using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>An operation of a definition that came from elsewhere; its bytes and metadata are kept (spec 02 §11.10).</summary>
internal sealed class DefinitionVertex(DefinitionGraph graph, string digest) : Vertex
{
    public override IEnumerable<Output> Inputs =>
        graph.Find(digest).Op.Inputs.Select(input => graph.Output(input));

    public override MarshalledOp Marshal(MarshalContext context)
    {
        var (_, bytes) = graph.Find(digest);
        return new MarshalledOp(digest, bytes, graph.Metadata(digest), graph.Locations(digest));
    }
}

/// <summary>A definition as a graph of vertices; each operation is one vertex, however often it is used.</summary>
internal sealed class DefinitionGraph
{
    private readonly Definition _definition;
    private readonly Dictionary<string, (Op Op, ReadOnlyMemory<byte> Bytes)> _ops = new(StringComparer.Ordinal);
    private readonly Dictionary<string, DefinitionVertex> _vertices = new(StringComparer.Ordinal);
    private readonly Dictionary<string, ImmutableArray<SourceLocation>> _locations = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    private DefinitionGraph(Definition definition) => _definition = definition;

    public static State Load(Definition definition)
    {
        if (definition.Def.Count == 0)
            return State.Scratch;
        var graph = new DefinitionGraph(definition);
        Op? last = null;
        foreach (var bytes in definition.Def)
        {
            try
            {
                last = Op.Parser.ParseFrom(bytes);
            }
            catch (InvalidProtocolBufferException e)
            {
                throw new LlbException($"failed to parse llb proto op: {e.Message}", e);
            }

            graph._ops[Digest.Sha256(bytes.Span).ToString()] = (last, bytes.Memory);
        }

        if (last!.Inputs.Count == 0)
            throw new LlbException("invalid LLB with no inputs on last vertex");
        if (last.Inputs[0].Index < 0)
            throw new LlbException("invalid definition op with invalid index");
        graph.ReadLocations();
        graph.Find(last.Inputs[0].Digest);
        return State.New(graph.Output(last.Inputs[0]));
    }

    public (Op Op, ReadOnlyMemory<byte> Bytes) Find(string digest) =>
        _ops.TryGetValue(digest, out var found) ? found : throw new LlbException($"invalid missing input digest {digest}");

    public OpMetadata? Metadata(string digest) => _definition.Metadata.GetValueOrDefault(digest);

    public IReadOnlyList<SourceLocation> Locations(string digest) => _locations.GetValueOrDefault(digest, []);

    public VertexOutput Output(Input input)
    {
        lock (_lock)
        {
            if (!_vertices.TryGetValue(input.Digest, out var vertex))
                _vertices.Add(input.Digest, vertex = new DefinitionVertex(this, input.Digest));
            return new IndexedOutput(vertex, (int)input.Index, Find(input.Digest).Op.Platform?.ToOci());
        }
    }

    private void ReadLocations()
    {
        if (_definition.Source is not { } source)
            return;
        var maps = source.Infos
            .Select(info => new SourceMap(info.Filename, info.Language, info.Data.Memory) { Definition = info.Definition })
            .ToArray();
        foreach (var (digest, locations) in source.Locations)
        {
            var found = ImmutableArray.CreateBuilder<SourceLocation>();
            foreach (var location in locations.Locations_)
            {
                if (location.SourceIndex < 0 || location.SourceIndex >= maps.Length)
                    throw new LlbException($"failed to find source map with index {location.SourceIndex}");
                found.Add(new SourceLocation(maps[location.SourceIndex], [.. location.Ranges.Select(range => new SourceRange(
                    range.Start?.Line ?? 0, range.Start?.Character ?? 0, range.End?.Line ?? 0, range.End?.Character ?? 0))]));
            }

            _locations[digest] = found.ToImmutable();
        }
    }

    private sealed class IndexedOutput(Vertex vertex, int index, Platform? platform) : VertexOutput(vertex, platform)
    {
        public override int Index => index;
    }
}
