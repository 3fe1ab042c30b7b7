using System.Runtime.CompilerServices;

namespace BuildKit.Solver;

/// <summary>The progress of one build: everything reported, and readers that follow it from the start.</summary>
internal sealed class JobProgress(TimeProvider time) : IProgressWriter
{
    private readonly Lock _gate = new();
    private readonly ProgressJournal _journal = new();
    private TaskCompletionSource _news = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _closed;

    public void Write(VertexStatusUpdate update) => Add(update);

    public void Write(ProgressStatus status) => Add(status);

    public void Write(ProgressLog log) => Add(log);

    public void Write(ProgressWarning warning) => Add(warning);

    public void Add(object item)
    {
        lock (_gate)
        {
            if (_closed)
                return;
            _journal.Add(item);
            Wake();
        }
    }

    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Wake();
        }
    }

    public async IAsyncEnumerable<SolveStatus> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var view = new VertexView();
        var position = 0;
        while (true)
        {
            List<object> items = [];
            Task news;
            bool closed;
            lock (_gate)
            {
                for (; position < _journal.Count; position++)
                {
                    if (_journal[position] is { } item)
                        items.Add(item);
                }
                news = _news.Task;
                closed = _closed;
            }
            if (items.Count > 0)
                yield return ToStatus(items, view);
            if (closed)
                break;
            await news.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        var rest = view.End(time.GetUtcNow());
        if (rest.Count > 0)
            yield return new SolveStatus(rest, [], [], []);
    }

    private static SolveStatus ToStatus(List<object> items, VertexView view)
    {
        List<VertexStatusUpdate> vertices = [];
        foreach (var update in items.OfType<VertexStatusUpdate>())
            view.Apply(update, vertices);
        return new SolveStatus(
            vertices.OrderBy(v => v.Started ?? DateTimeOffset.MinValue).ToList(),
            items.OfType<ProgressStatus>().OrderBy(s => s.Timestamp).ToList(),
            items.OfType<ProgressLog>().OrderBy(l => l.Timestamp).ToList(),
            items.OfType<ProgressWarning>().ToList());
    }

    private void Wake()
    {
        _news.TrySetResult();
        if (!_closed)
            _news = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
