using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// What one client knows of the vertices, and the rules that complete it (spec 03 §14): inputs of a step that started
/// were not needed if nothing was said about them, so they are shown as cached.
/// </summary>
internal sealed class VertexView
{
    private readonly Dictionary<Digest, VertexStatusUpdate> _vertices = [];

    /// <summary>Takes an update in and lists it after those that follow from it.</summary>
    public void Apply(VertexStatusUpdate update, List<VertexStatusUpdate> output)
    {
        _vertices[update.Digest] = update;
        if (update.Started is not null)
        {
            foreach (var input in update.Inputs)
            {
                if (_vertices.TryGetValue(input, out var below) && !below.Cached && below.Completed is null)
                    Apply(below with { Cached = true, Started = update.Started, Completed = update.Started }, output);
            }
        }
        output.Add(update);
    }

    /// <summary>Completes what is still open at the end of the build.</summary>
    public IReadOnlyList<VertexStatusUpdate> End(DateTimeOffset now)
    {
        var belowCached = new HashSet<Digest>();
        foreach (var vertex in _vertices.Values.Where(v => v.Cached))
            Mark(vertex);
        List<VertexStatusUpdate> open = [];
        foreach (var vertex in _vertices.Values.Where(v => v.Started is not null && v.Completed is null))
        {
            var error = vertex.Error.Length > 0 || belowCached.Contains(vertex.Digest) ? vertex.Error : "context canceled";
            open.Add(vertex with { Completed = now, Error = error });
        }
        return open.OrderBy(v => v.Started).ToList();

        void Mark(VertexStatusUpdate vertex)
        {
            foreach (var input in vertex.Inputs)
            {
                if (belowCached.Add(input) && _vertices.TryGetValue(input, out var below))
                    Mark(below);
            }
        }
    }
}
