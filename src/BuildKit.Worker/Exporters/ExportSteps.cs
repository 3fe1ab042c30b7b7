using BuildKit.Solver;
using BuildKit.Worker.Ops;

namespace BuildKit.Worker.Exporters;

/// <summary>One-off progress lines of an export: started, then completed, whatever happens (spec 07 §11).</summary>
internal static class ExportSteps
{
    /// <summary>Runs something under a line.</summary>
    public static async Task<T> StepAsync<T>(this IProgressWriter progress, string id, Func<Task<T>> action)
    {
        var line = StatusProgress.Start(progress, id);
        try
        {
            return await action();
        }
        finally
        {
            line.Done();
        }
    }

    /// <summary>Runs something under a line.</summary>
    public static Task StepAsync(this IProgressWriter progress, string id, Func<Task> action) => progress.StepAsync(id, async () =>
    {
        await action();
        return true;
    });
}
