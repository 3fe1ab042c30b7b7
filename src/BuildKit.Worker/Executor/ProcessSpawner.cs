using System.Collections.Concurrent;
using System.Diagnostics;

namespace BuildKit.Worker.Executor;

/// <summary>Starts processes from one long-lived thread, so that a parent-death signal means "the daemon died"
/// and not "the pool thread that happened to start it ended".</summary>
internal sealed class ProcessSpawner : IDisposable
{
    private readonly BlockingCollection<(ProcessStartInfo Start, TaskCompletionSource<Process> Done)> _requests = [];
    private readonly Thread _thread;

    /// <param name="prepare">Run once on the thread: what it changes about the thread, the processes inherit.</param>
    public ProcessSpawner(Action? prepare = null)
    {
        _thread = new Thread(() => Loop(prepare)) { IsBackground = true, Name = "process spawner" };
        _thread.Start();
    }

    /// <summary>Starts a process. Errors: what <see cref="Process.Start(ProcessStartInfo)"/> throws.</summary>
    public Task<Process> StartAsync(ProcessStartInfo start)
    {
        var done = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        _requests.Add((start, done));
        return done.Task;
    }

    public void Dispose()
    {
        _requests.CompleteAdding();
        _thread.Join();
        _requests.Dispose();
    }

    private void Loop(Action? prepare)
    {
        Exception? failure = null;
        try
        {
            prepare?.Invoke();
        }
        catch (Exception exception)
        {
            failure = exception; // every start reports it
        }
        foreach (var (start, done) in _requests.GetConsumingEnumerable())
        {
            if (failure is not null)
            {
                done.SetException(failure);
                continue;
            }
            try
            {
                done.SetResult(Process.Start(start)!);
            }
            catch (Exception exception)
            {
                done.SetException(exception);
            }
        }
    }
}
