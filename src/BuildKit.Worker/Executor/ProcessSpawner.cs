using System.Collections.Concurrent;
using System.Diagnostics;

namespace BuildKit.Worker.Executor;

/// <summary>Starts processes from one long-lived thread, so that a parent-death signal means "the daemon died"
/// and not "the pool thread that happened to start it ended".</summary>
internal sealed class ProcessSpawner : IDisposable
{
    private readonly BlockingCollection<(ProcessStartInfo Start, TaskCompletionSource<Process> Done)> _requests = [];
    private readonly Thread _thread;

    public ProcessSpawner()
    {
        _thread = new Thread(Loop) { IsBackground = true, Name = "process spawner" };
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

    private void Loop()
    {
        foreach (var (start, done) in _requests.GetConsumingEnumerable())
        {
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
