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
            var judged = new Dictionary<VertexState, bool>();
            foreach (var state in _active.Values)
                Judge(state);

            bool Judge(VertexState state)
            {
                if (judged.TryGetValue(state, out var known))
                    return known;
                judged[state] = false;
                var inputs = false;
                foreach (var input in state.Vertex.Inputs)
                    inputs |= _active.TryGetValue(input.Vertex.Digest, out var below) && Judge(below);
                var edges = state.Edges.Values.Select(Owner).ToList();
                var spoiled = edges.Exists(e => e.IsSpoiledBy(isLost, isLoss)) || (inputs && !edges.Exists(e => e.IsComplete));
                if (spoiled)
                {
                    state.IsSpoiled = true;
                    edges.ForEach(e => e.IsSpoiled = true);
                }
                return judged[state] = spoiled || state.IsSpoiled;
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
