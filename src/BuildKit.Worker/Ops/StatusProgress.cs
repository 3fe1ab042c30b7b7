using System.Collections.Concurrent;
using BuildKit.Solver;

namespace BuildKit.Worker.Ops;

/// <summary>One line of progress below a vertex, from its start to <see cref="Done"/>.</summary>
public sealed class StatusProgress
{
    private readonly IProgressWriter _writer;
    private readonly string _id;
    private readonly DateTimeOffset _started;
    private int _done;

    private StatusProgress(IProgressWriter writer, string id, DateTimeOffset started)
    {
        _writer = writer;
        _id = id;
        _started = started;
    }

    /// <summary>Reports the start of something, for example <c>resolve NAME</c>.</summary>
    public static StatusProgress Start(IProgressWriter writer, string id)
    {
        var now = DateTimeOffset.UtcNow;
        writer.Write(new ProgressStatus(id, default, "", 0, 0, now, now, null));
        return new StatusProgress(writer, id, now);
    }

    /// <summary>As <see cref="Start"/>, but nothing is shown before the first report.</summary>
    public static StatusProgress Later(IProgressWriter writer, string id) => new(writer, id, DateTimeOffset.UtcNow);

    /// <summary>Reports how far it is.</summary>
    public void Report(string name, long current, long total) =>
        _writer.Write(new ProgressStatus(_id, default, name, current, total, DateTimeOffset.UtcNow, _started, null));

    /// <summary>Reports the end; further calls do nothing.</summary>
    public void Done(string name = "", long current = 0, long total = 0)
    {
        if (Interlocked.Exchange(ref _done, 1) != 0)
            return;
        var now = DateTimeOffset.UtcNow;
        _writer.Write(new ProgressStatus(_id, default, name, current, total, now, _started, now));
    }

    /// <summary>
    /// A sink for storage's reports (status id, current, total, done) that turns them into lines with start times.
    /// </summary>
    public static Action<string, long, long, bool> Reporter(IProgressWriter writer)
    {
        var lines = new ConcurrentDictionary<string, StatusProgress>(StringComparer.Ordinal);
        return (id, current, total, done) =>
        {
            var line = lines.GetOrAdd(id, name => new StatusProgress(writer, name, DateTimeOffset.UtcNow));
            var action = id.StartsWith("extracting ", StringComparison.Ordinal) ? "extracting" : "downloading";
            if (!done)
            {
                line.Report(action, current, total);
                return;
            }
            line.Done(action == "extracting" ? action : "done", current, total);
            lines.TryRemove(id, out _);
        };
    }
}
