namespace BuildKit.Worker.Ops;

/// <summary>Passes byte counts on at most every 100 ms.</summary>
internal sealed class ThrottledProgress(StatusProgress line, string name)
{
    private const long MinInterval = 100;
    private long _last = long.MinValue;

    /// <summary>Takes bytes so far, and true at the end.</summary>
    public void Report(long current, bool done)
    {
        if (done)
        {
            line.Done(name, current);
            return;
        }
        var now = Environment.TickCount64;
        if (now - _last < MinInterval)
            return;
        _last = now;
        line.Report(name, current, 0);
    }
}
