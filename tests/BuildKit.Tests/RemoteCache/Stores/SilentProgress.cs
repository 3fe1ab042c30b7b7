using System.Collections.Concurrent;
using BuildKit.Solver;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>Remembers statuses, shows nothing.</summary>
internal sealed class SilentProgress : IProgressWriter
{
    public ConcurrentQueue<ProgressStatus> Statuses { get; } = new();

    public void Write(VertexStatusUpdate update)
    {
    }

    public void Write(ProgressStatus status) => Statuses.Enqueue(status);

    public void Write(ProgressLog log)
    {
    }

    public void Write(ProgressWarning warning)
    {
    }
}
