using BuildKit.Solver;
using BuildKit.Storage.Refs;
using BuildKit.Worker.Results;

namespace BuildKit.Daemon.Solving;

/// <summary>
/// Layers of imported caches are fetched when somebody needs their bytes, long after the cache was believed to have them.
/// When one proves lost, what was built on it is given up and built again: from another record, or by executing.
/// </summary>
internal static class LostLayers
{
    /// <summary>Each attempt learns of at least one more lost layer, and a cache that lost one is tested before it is believed
    /// again: only many caches failing one after another need more than a few.</summary>
    private const int MostAttempts = 16;

    /// <summary>Runs work until no lost layer stops it.</summary>
    /// <param name="solver">Whose vertices are given up.</param>
    /// <param name="refs">Knows which results lie on lost layers.</param>
    /// <param name="work">Done again from the start after each loss.</param>
    public static async Task<T> RenewingAsync<T>(GraphSolver solver, IRefStore refs, Func<Task<T>> work)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                return await work();
            }
            catch (Exception exception) when (attempt < MostAttempts && LayerLostException.IsCauseOf(exception))
            {
                await solver.SpoilAsync(result => refs.HasLostLayers(WorkerResult.RefIdOf(result.Id)), LayerLostException.IsCauseOf);
            }
        }
    }
}
