using BuildKit.Oci;

namespace BuildKit.Solver;

/// <summary>
/// Progress of one vertex, fanned out to the builds that use it. A build that joins later is told everything first. When
/// the vertex' edge was merged into another one's, its builds follow that one too, each told once.
/// </summary>
internal sealed class VertexProgress(Digest vertex) : IProgressWriter
{
    private readonly Lock _gate = new();
    private readonly ProgressJournal _journal = new();
    private readonly HashSet<JobProgress> _builds = [];
    private readonly List<VertexProgress> _followed = [];

    public void Write(VertexStatusUpdate update) => Record(update);

    public void Write(ProgressStatus status) => Record(status.Vertex.IsEmpty ? status with { Vertex = vertex } : status);

    public void Write(ProgressLog log) => Record(log.Vertex.IsEmpty ? log with { Vertex = vertex } : log);

    public void Write(ProgressWarning warning) => Record(warning.Vertex.IsEmpty ? warning with { Vertex = vertex } : warning);

    /// <summary>Adds a build and tells it about the vertex.</summary>
    public void Attach(JobProgress build, VertexStatusUpdate current)
    {
        if (!Attach(build))
            return;
        lock (_gate)
        {
            if (_journal.Count == 0)
            {
                _journal.Add(current);
                foreach (var attached in _builds)
                    attached.Add(current);
            }
        }
    }

    public void Detach(JobProgress build)
    {
        lock (_gate)
            _builds.Remove(build);
    }

    /// <summary>Lets this vertex' builds, those to come included, see another vertex.</summary>
    public void Follow(VertexProgress other)
    {
        List<JobProgress> builds;
        lock (_gate)
        {
            _followed.Add(other);
            builds = [.. _builds];
        }
        foreach (var build in builds)
            other.Attach(build);
    }

    private bool Attach(JobProgress build)
    {
        List<VertexProgress> followed;
        lock (_gate)
        {
            if (!_builds.Add(build))
                return false;
            for (var i = 0; i < _journal.Count; i++)
            {
                if (_journal[i] is { } item)
                    build.Add(item);
            }
            followed = [.. _followed];
        }
        foreach (var other in followed)
            other.Attach(build);
        return true;
    }

    private void Record(object item)
    {
        lock (_gate)
        {
            _journal.Add(item);
            foreach (var build in _builds)
                build.Add(item);
        }
    }
}
