namespace BuildKit.RemoteCache.Merging;

/// <summary>Lets the exports of one daemon into the same place join it one after the other: between daemons writers must find out
/// that they met, within one they need not meet at all.</summary>
public sealed class MergeTurns
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Turn> _turns = new(StringComparer.Ordinal);

    /// <summary>Waits for the turn at a place; disposing ends it.</summary>
    public async Task<IDisposable> EnterAsync(string place, CancellationToken cancellationToken)
    {
        Turn turn;
        lock (_gate)
        {
            if (!_turns.TryGetValue(place, out turn!))
                _turns[place] = turn = new Turn(this, place);
            turn.Users++;
        }
        try
        {
            await turn.Semaphore.WaitAsync(cancellationToken).ConfigureAwait(false);
            return turn;
        }
        catch
        {
            Leave(turn);
            throw;
        }
    }

    private void Leave(Turn turn)
    {
        lock (_gate)
        {
            if (--turn.Users == 0)
                _turns.Remove(turn.Place);
        }
    }

    private sealed class Turn(MergeTurns owner, string place) : IDisposable
    {
        public SemaphoreSlim Semaphore { get; } = new(1);

        public string Place => place;

        public int Users { get; set; }

        public void Dispose()
        {
            Semaphore.Release();
            owner.Leave(this);
        }
    }
}
