namespace BuildKit.Solver;

/// <summary>
/// Results that turned out to be unusable after they were handed out: a lazy layer of an imported cache that cannot be
/// fetched when somebody needs it. Such a result cannot be taken back from the builds that hold it, so the vertices it
/// spoils keep it and new ones take their place: whoever loads the graph again gets vertices under digests of their own,
/// which look for another record or execute.
/// </summary>
public sealed partial class GraphSolver
{
    /// <summary>Spoils every edge that holds a lost result or failed because of one, and all that waits for such an edge.
    /// Work that is under way elsewhere goes on, and what is complete stays.</summary>
    /// <param name="isLost">Whether a result is lost. Called on the scheduler's loop: must be quick.</param>
    /// <param name="isLoss">Whether an error came of a lost result.</param>
    public Task SpoilAsync(Func<IResult, bool> isLost, Func<Exception, bool> isLoss)
    {
        if (_scheduler is not { } scheduler)
            return Task.CompletedTask;
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        scheduler.Post(() =>
        {
            try
            {
                Spoil(isLost, isLoss);
                done.SetResult();
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        });
        return done.Task;
    }

    private void Spoil(Func<IResult, bool> isLost, Func<Exception, bool> isLoss)
    {
        lock (_gate)
        {
            var consumers = _active.Values
                .SelectMany(state => state.Vertex.Inputs.Select(input => (Below: input.Vertex.Digest, Above: state)))
                .ToLookup(link => link.Below, link => link.Above);
            var pending = new Stack<VertexState>(_active.Values.Where(state => state.Edges.Values.Any(edge => Owner(edge).IsSpoiledBy(isLost, isLoss))));
            while (pending.TryPop(out var state))
            {
                if (state.IsSpoiled)
                    continue;
                state.IsSpoiled = true;
                foreach (var edge in state.Edges.Values)
                    Owner(edge).IsSpoiled = true;
                foreach (var above in consumers[state.Digest])
                {
                    if (!above.Edges.Values.Any(edge => Owner(edge).IsComplete))
                        pending.Push(above);
                }
            }
        }
    }

    private static EdgeNode Owner(EdgeNode edge)
    {
        while (edge.Owner is not null)
            edge = edge.Owner;
        return edge;
    }
}
