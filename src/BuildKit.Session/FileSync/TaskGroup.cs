using System.Runtime.ExceptionServices;

namespace BuildKit.Session.FileSync;

/// <summary>Tasks that live and fail together: the first failure cancels the others and is what waiting throws.</summary>
internal sealed class TaskGroup(CancellationToken outer) : IDisposable
{
    private readonly CancellationTokenSource _source = CancellationTokenSource.CreateLinkedTokenSource(outer);
    private readonly List<Task> _tasks = [];
    private ExceptionDispatchInfo? _failure;

    /// <summary>Fires when any task failed or the owner was cancelled.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>Starts a task on the pool.</summary>
    public void Run(Func<CancellationToken, Task> work) => _tasks.Add(Task.Run(() => GuardAsync(work), CancellationToken.None));

    /// <summary>Waits for all tasks.</summary>
    public async Task WaitAsync()
    {
        await Task.WhenAll(_tasks);
        _failure?.Throw();
    }

    public void Dispose() => _source.Dispose();

    private async Task GuardAsync(Func<CancellationToken, Task> work)
    {
        try
        {
            await work(Token);
        }
        catch (Exception failure)
        {
            if (Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(failure), null) is null)
                await _source.CancelAsync();
        }
    }
}
