using System.Collections.Concurrent;
using BuildKit.Solver;

namespace BuildKit.Tests.RemoteCache.Stores;

/// <summary>Remembers statuses and warnings, shows nothing.</summary>
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

    public ConcurrentQueue<string> Warnings { get; } = new();

    public void Write(ProgressWarning warning) => Warnings.Enqueue(System.Text.Encoding.UTF8.GetString(warning.Short.Span));
}
