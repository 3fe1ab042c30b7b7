using BuildKit.Oci;
using BuildKit.Protocol.Pb;
using Google.Protobuf;

namespace BuildKit.Llb;

/// <summary>Collects the source files and locations of a definition's operations (spec 02 §3.5).</summary>
internal sealed class SourceCollector
{
    private readonly List<SourceMap> _maps = [];
    private readonly Dictionary<SourceMap, int> _known = new(ReferenceEqualityComparer.Instance);
    private readonly SortedDictionary<string, Locations> _locations = new(ByteOrder.Instance);

    public void Add(MarshalledOp op)
    {
        if (!_locations.TryGetValue(op.Digest, out var locations))
            _locations.Add(op.Digest, locations = new Locations());
        foreach (var location in op.Locations)
        {
            var entry = new Location { SourceIndex = IndexOf(location.Map) };
            foreach (var range in location.Ranges)
            {
                entry.Ranges.Add(new Protocol.Pb.Range
                {
                    Start = new Position { Line = range.StartLine, Character = range.StartCharacter },
                    End = new Position { Line = range.EndLine, Character = range.EndCharacter },
                });
            }

            locations.Locations_.Add(entry);
        }
    }

    public async Task<Source> MarshalAsync(MarshalOptions options, CancellationToken cancellationToken)
    {
        var source = new Source();
        foreach (var map in _maps)
        {
            var definition = map.Definition;
            if (definition is null && map.State is { } state)
                definition = await Marshaller.MarshalAsync(state, options, cancellationToken).ConfigureAwait(false);
            source.Infos.Add(new SourceInfo
            {
                Filename = map.Filename,
                Language = map.Language,
                Data = UnsafeByteOperations.UnsafeWrap(map.Content),
                Definition = definition,
            });
        }

        foreach (var (digest, locations) in _locations)
            source.Locations.Add(digest, locations);
        return source;
    }

    private int IndexOf(SourceMap map)
    {
        if (_known.TryGetValue(map, out var index))
            return index;
        index = _maps.FindIndex(map.SameAs);
        if (index < 0)
        {
            index = _maps.Count;
            _maps.Add(map);
        }

        _known.Add(map, index);
        return index;
    }
}
